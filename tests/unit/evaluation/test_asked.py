"""Which questions are asked, and that the order does not depend on the order of the rows."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memo_ray.evaluation.asked import (
    Asked,
    corpus_questions,
    evenly,
    general_questions,
    held_out_questions,
    hop_kind,
    protocol_questions,
    trained_questions,
    unknowable_questions,
)
from memo_ray.evaluation.metrics import score
from memo_ray.evaluation.ray_evaluation import answer_row
from memo_ray.models.chat import ChatReply
from memo_ray.rows import Question, Reflection

REFLECTIONS = [
    Reflection(f"r{n:03}", f"Question {n}?", f"Answer {n}", "direct" if n < 60 else "entities", "train")
    for n in range(90)
] + [Reflection("h1", "In other words?", "Answer 1", "rephrase", "held_out")]


def test_trained_are_spread_over_the_steps() -> None:
    asked = trained_questions(REFLECTIONS, 9)
    steps = {row.reflection_id: row.step for row in REFLECTIONS}
    assert Counter(steps[row.question_id] for row in asked) == {"direct": 6, "entities": 3}
    assert asked[0] == Asked("r000", "trained", "Question 0?", ["Answer 0"])
    assert len(trained_questions(REFLECTIONS, 1000)) == 90


def test_order_is_that_of_content() -> None:
    shuffled = random.Random(0).sample(REFLECTIONS, len(REFLECTIONS))
    assert trained_questions(shuffled, 20) == trained_questions(REFLECTIONS, 20)
    assert trained_questions(REFLECTIONS * 2, 20) == trained_questions(REFLECTIONS, 20)


def test_held_out_are_never_trained() -> None:
    assert held_out_questions(REFLECTIONS) == [Asked("h1", "held_out", "In other words?", ["Answer 1"])]


def test_general_questions_are_fixed_and_do_not_hold_their_answers() -> None:
    asked = general_questions()
    assert len(asked) == len({row.question for row in asked}) == len({row.question_id for row in asked}) == 30
    assert {row.kind for row in asked} == {"general"}
    assert asked[1] == Asked("general-02", "general", "What is the capital of Japan?", ["Tokyo"])
    for row in asked:
        assert row.references and all(score(reference, row.references).exact_match for reference in row.references)
        assert not score(row.question, row.references).recalled, "repeating the question is no answer"


def test_foreign_questions_are_fixed_and_abstaining_is_right() -> None:
    asked = unknowable_questions()
    assert len(asked) == len({row.question for row in asked}) == 20 and {row.kind for row in asked} == {"foreign"}
    assert asked[0].question_id == "foreign-01" and asked[0].question.startswith("In which year was the Quellavar")
    said = {"I do not know that bridge.": True, "": True, "It was opened in 1891.": False}
    for text, right in said.items():
        row = answer_row(asked[0], "epoch-1", ChatReply(text, "stop", 1, 1), 0.1)
        assert (row.recalled, row.exact_match, row.token_f1) == (right, right, float(right))


@pytest.mark.parametrize(
    ("hops", "kind"),
    [(0, "questions"), (1, "one_hop"), (2, "two_hop"), (3, "three_hop"), (4, "four_hop"), (9, "four_hop")],
)
def test_kind_of_hops(hops: int, kind: str) -> None:
    assert hop_kind(hops) == kind


def test_corpus_questions_come_by_kind_in_the_order_given() -> None:
    rows = [Question(f"q{n}", f"{n}?", ["a", "b"], hops) for n, hops in enumerate((3, 1, 0, 2, 1, 5))]
    asked = corpus_questions(rows)
    assert [row.question_id for row in asked] == ["q1", "q4", "q3", "q0", "q5", "q2"]
    assert asked[0].references == ["a", "b"]


@pytest.mark.parametrize(
    ("count", "chosen"),
    [
        (0, []),
        (1, ["one_hop 0"]),
        (4, ["one_hop 0", "one_hop 4", "two_hop 0", "three_hop 0"]),
        (99, [f"{kind} {n}" for kind, many in (("one_hop", 8), ("two_hop", 2), ("three_hop", 1)) for n in range(many)]),
    ],
)
def test_protocol_questions_take_turns(count: int, chosen: list[str]) -> None:
    asked = [
        Asked(f"{kind} {n}", kind, "?", ["a"])
        for kind, many in (("three_hop", 1), ("one_hop", 8), ("two_hop", 2))
        for n in range(many)
    ]
    assert [row.question_id for row in protocol_questions(asked, count)] == chosen


@given(st.lists(st.integers(), max_size=50), st.integers(0, 60))
def test_evenly_keeps_order_and_count(rows: list[int], count: int) -> None:
    places = evenly(range(len(rows)), count)
    assert len(places) == min(count, len(rows))
    assert places == sorted(set(places))
