"""Which pairs Step 5 looks at."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from memo_ray.config.synthesis import Connections
from memo_ray.synthesis.candidates import propose
from memo_ray.synthesis.pairs import Pair
from tests.unit.synthesis.conftest import make_pair


def group(sizes: list[int]) -> dict[str, list[Pair]]:
    return {
        f"c{chunk}": [make_pair(f"Who is {chunk}-{n}?", "X", chunk_ids=(f"c{chunk}",)) for n in range(size)]
        for chunk, size in enumerate(sizes)
    }


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(1, 4))
def test_all_pairs_visits_every_pair_of_pairs_of_different_chunks_once(sizes: list[int], batch: int):
    by_chunk = group(sizes)
    seen = [
        frozenset((candidate.anchor.reflection_id, other.reflection_id))
        for candidate in propose("g", by_chunk, Connections(), batch)
        for other in candidate.others
    ]
    wanted = {
        frozenset((one.reflection_id, two.reflection_id))
        for (_, first), (_, second) in itertools.combinations(by_chunk.items(), 2)
        for one in first
        for two in second
    }
    assert len(seen) == len(set(seen)) and set(seen) == wanted


def test_batches_hold_no_more_than_their_size():
    found = propose("g", group([1, 7]), Connections(), 3)
    assert [len(candidate.others) for candidate in found] == [3, 3, 1]


def named(chunk: str, text: str) -> Pair:
    return make_pair(f"What about {text}?", text, evidence=f"It was seen by {text} there.", chunk_ids=(chunk,))


def test_shared_entities_visits_only_pairs_that_share_a_rare_name():
    by_chunk = {
        "a": [named("a", "Lena Korb"), named("a", "Varda")],
        "b": [named("b", "Lena Korb"), named("b", "Varda")],
        "c": [named("c", "Imre Solt"), named("c", "Varda")],
    }
    found = propose("g", by_chunk, Connections(candidates="shared_entities", rare_in_chunks=2), 5)
    assert [(c.anchor.answer, [other.answer for other in c.others]) for c in found] == [("Lena Korb", ["Lena Korb"])]


def test_max_prompts_takes_an_even_spread_and_ids_are_stable():
    everything = propose("g", group([10, 10]), Connections(), 1)
    some = propose("g", group([10, 10]), Connections(max_prompts=10), 1)
    positions = [everything.index(candidate) for candidate in some]
    assert positions == list(range(0, 100, 10))
    assert len({candidate.candidate_id for candidate in everything}) == 100
