"""Which pairs are kept under a cap."""

from __future__ import annotations

from collections import Counter

from memo_ray.synthesis.pairs import Pair
from memo_ray.synthesis.selection import chosen, spread
from tests.unit.synthesis.conftest import make_pair


def pairs(chunks: int, sentences: int, answers: int) -> list[Pair]:
    return [
        make_pair(f"Who is {c}-{s}-{a}?", f"A{a}", evidence=f"Sentence {c}-{s}.", chunk_ids=(f"c{c}",))
        for c in range(chunks)
        for s in range(sentences)
        for a in range(answers)
    ]


def derived(step: str, chunks: int, count: int) -> list[Pair]:
    return [
        make_pair(f"Why {step} {c}-{n}?", f"B{n}", step=step, chunk_ids=(f"c{c}",))
        for c in range(chunks)
        for n in range(count)
    ]


def test_no_cap_keeps_everything_once():
    offered = pairs(3, 4, 2) + derived("entities", 3, 2)
    kept = chosen(offered, None)
    assert sorted(pair.reflection_id for pair in kept) == sorted(pair.reflection_id for pair in offered)


def test_every_sentence_is_covered_before_any_gets_a_second_pair():
    kept = chosen(pairs(3, 4, 3) + derived("entities", 3, 5), 12)
    assert len({pair.evidence for pair in kept}) == 12


def test_chunks_are_treated_alike():
    kept = chosen(pairs(4, 6, 1), 10)
    by_chunk = Counter(pair.chunk_ids for pair in kept)
    assert max(by_chunk.values()) - min(by_chunk.values()) <= 1


def test_after_the_sentences_the_other_steps_get_their_turn():
    kept = chosen(pairs(2, 3, 4) + derived("entities", 2, 5) + derived("connections", 2, 5), 6 + 8)
    steps = Counter(pair.step for pair in kept)
    assert steps == {"direct": 12, "entities": 1, "connections": 1}


def test_a_second_answer_comes_before_another_wording_of_the_first():
    same = make_pair("Which mason is 0-0-0?", "A0", evidence="Sentence 0-0.", chunk_ids=("c0",))
    kept = chosen([*pairs(1, 1, 1), same, make_pair("When?", "A1", evidence="Sentence 0-0.", chunk_ids=("c0",))], None)
    assert [pair.answer for pair in kept] == ["A0", "A1", "A0"]


def test_spread_is_even():
    assert spread(list(range(10)), 4) == [0, 2, 5, 7]
    assert spread([1, 2], 5) == [1, 2]
