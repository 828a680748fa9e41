"""Which pairs Step 5 looks at together."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from memo_ray.config.comparison import Encoder
from memo_ray.config.synthesis import Connections, SynthesisConfig
from memo_ray.rows import Group
from memo_ray.synthesis.candidates import Candidate, count_prompts, proposals
from memo_ray.synthesis.pairs import Pair
from memo_ray.synthesis.recipe import semantics
from tests.unit.synthesis.conftest import make_pair

RELATED = Connections(candidates="shared_entities")
RARE_ONLY = Connections(
    candidates="shared_entities", rare_in_chunks=2, short_names=False, hub_neighbours=0, neighbours=0
)


def pairs_by_chunk(sizes: list[int]) -> dict[str, list[Pair]]:
    return {
        f"c{chunk}": [make_pair(f"Who is {chunk}-{n}?", "Imre Solt", chunk_ids=(f"c{chunk}",)) for n in range(size)]
        for chunk, size in enumerate(sizes)
    }


def visits(candidates: Iterable[Candidate]) -> list[frozenset[str]]:
    return [
        frozenset((candidate.anchor.reflection_id, other.reflection_id))
        for candidate in candidates
        for other in candidate.others
    ]


def test_neighbours_by_embedding_are_candidates_and_the_encoder_is_in_the_fingerprint(tiny_model: Path):
    told = ["What lit the tower? lamp oil", "What lit the tower? lamp oil", "Who sold Varda salt and red rope? Imre"]
    by_chunk = {
        f"c{n}": [make_pair(*text.split("? "), chunk_ids=(f"c{n}",), evidence="", prompt_id=str(n))]
        for n, text in enumerate([told[0], told[2], told[1].replace("lamp", "Lamp")])
    }
    encoder = Encoder(engine="transformers", model=str(tiny_model))
    near = RARE_ONLY.model_copy(update={"neighbours": 1, "neighbours_by": "embedding", "encoder": encoder})
    assert visits(proposals(whole(by_chunk), by_chunk, RARE_ONLY, 20)) == []
    seen = visits(proposals(whole(by_chunk), by_chunk, near, 20))
    assert frozenset(by_chunk[name][0].reflection_id for name in ("c0", "c2")) in seen
    assert count_prompts(whole(by_chunk), by_chunk, near, 1) == len(seen)
    held = semantics(SynthesisConfig(connections=near))["connections"]["encoder"]
    assert held.endswith(":mean:512") and str(tiny_model) not in held


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"neighbours_by": "embedding"}, "neighbours_by: embedding and encoder go together"),
        ({"encoder": Encoder(engine="transformers", model="m")}, "neighbours_by: embedding and encoder go together"),
        (
            {"neighbours_by": "embedding", "encoder": Encoder(engine="transformers", model="m")},
            "needs candidates: shared_entities",
        ),
    ],
)
def test_vectors_and_what_makes_them_go_together(changes: dict[str, Any], problem: str):
    with pytest.raises(ValidationError, match=problem):
        Connections(**changes)


def whole(by_chunk: dict[str, list[Pair]]) -> list[Group]:
    return [Group("g", "all", list(by_chunk))]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(1, 4))
def test_all_pairs_visits_every_pair_of_pairs_of_different_chunks_once(sizes: list[int], batch: int):
    by_chunk = pairs_by_chunk(sizes)
    seen = visits(proposals(whole(by_chunk), by_chunk, Connections(), batch))
    wanted = {
        frozenset((one.reflection_id, two.reflection_id))
        for (_, first), (_, second) in itertools.combinations(by_chunk.items(), 2)
        for one in first
        for two in second
    }
    assert len(seen) == len(set(seen)) and set(seen) == wanted


@given(
    st.lists(st.lists(st.integers(0, 5), min_size=2, unique=True), min_size=1, max_size=4),
    st.sampled_from([Connections(), RELATED]),
)
@settings(deadline=None, max_examples=40)
def test_groups_that_overlap_visit_no_pair_twice_and_leave_none_out(groups: list[list[int]], config: Connections):
    by_chunk = pairs_by_chunk([2, 1, 3, 2, 1, 2])
    rows = [Group(f"g{number}", "all", [f"c{chunk}" for chunk in chunks]) for number, chunks in enumerate(groups)]
    seen = visits(proposals(rows, by_chunk, config, 2))
    assert len(seen) == len(set(seen))
    wanted = {
        frozenset((one.reflection_id, two.reflection_id))
        for group in rows
        for first, second in itertools.combinations(group.chunk_ids, 2)
        for one in by_chunk[first]
        for two in by_chunk[second]
    }
    assert set(seen) <= wanted
    if config.candidates == "all_pairs":
        assert set(seen) == wanted


def test_a_pair_that_two_chunks_have_is_looked_at_once():
    same = make_pair("Who is it?", "Imre Solt")
    by_chunk = {"a": [same], "b": [same], "c": [make_pair("Who else?", "Lena Korb", chunk_ids=("c",))]}
    assert len(visits(proposals(whole(by_chunk), by_chunk, Connections(), 5))) == 1


def test_batches_hold_no_more_than_their_size():
    by_chunk = pairs_by_chunk([1, 7])
    found = proposals(whole(by_chunk), by_chunk, Connections(), 3)
    assert [len(candidate.others) for candidate in found] == [3, 3, 1]


def named(chunk: str, text: str) -> Pair:
    return make_pair(
        f"What about {text} in {chunk}?", text, evidence=f"It was seen by {text} there.", chunk_ids=(chunk,)
    )


def shown(by_chunk: dict[str, list[Pair]], config: Connections) -> list[tuple[str, list[str]]]:
    found = proposals(whole(by_chunk), by_chunk, config, 5)
    return [(candidate.anchor.answer, [other.answer for other in candidate.others]) for candidate in found]


def test_rare_names_alone_connect_when_neighbours_are_off():
    by_chunk = {
        "a": [named("a", "Lena Korb"), named("a", "Varda")],
        "b": [named("b", "Lena Korb"), named("b", "Varda")],
        "c": [named("c", "Imre Solt"), named("c", "Varda")],
    }
    assert shown(by_chunk, RARE_ONLY) == [("Lena Korb", ["Lena Korb"])]


def test_a_name_counts_as_its_shorter_forms():
    by_chunk = {"a": [named("a", "Captain Lena Korb")], "b": [named("b", "Korb")], "c": [named("c", "Varda")]}
    assert shown(by_chunk, RARE_ONLY) == []
    assert shown(by_chunk, RARE_ONLY.model_copy(update={"short_names": True})) == [("Captain Lena Korb", ["Korb"])]


def test_the_rarest_shared_name_comes_first():
    by_chunk = {
        "a": [make_pair("Q a?", "a", evidence="It was seen by Lena Korb and by Varda Ost there.", chunk_ids=("a",))],
        "b": [named("b", "Varda Ost")],
        "c": [named("c", "Lena Korb")],
    }
    config = RARE_ONLY.model_copy(update={"rare_in_chunks": 3})
    assert shown(by_chunk, config)[0] == ("a", ["Lena Korb", "Varda Ost"])


@pytest.mark.parametrize("config", [Connections(max_prompts=10), RELATED.model_copy(update={"max_prompts": 10})])
def test_max_prompts_takes_an_even_spread_and_ids_are_stable(config: Connections):
    by_chunk = pairs_by_chunk([10, 10])
    everything = list(proposals(whole(by_chunk), by_chunk, config.model_copy(update={"max_prompts": None}), 1))
    some = list(proposals(whole(by_chunk), by_chunk, config, 1))
    positions = [everything.index(candidate) for candidate in some]
    assert positions == [i * len(everything) // 10 for i in range(10)]
    assert len({candidate.candidate_id for candidate in everything}) == len(everything) > 10


@pytest.mark.parametrize("config", [Connections(), RELATED, Connections(max_prompts=7)])
def test_prompts_are_counted_without_making_them(config: Connections):
    by_chunk = pairs_by_chunk([3, 5, 2])
    groups = [*whole(by_chunk), Group("h", "label", ["c0", "c2"])]
    assert count_prompts(groups, by_chunk, config, 2) == len(list(proposals(groups, by_chunk, config, 2)))
