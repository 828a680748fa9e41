"""Recall by document and step over epochs."""

from __future__ import annotations

from memo_ray.evaluation.learning import (
    abstention,
    curve,
    foreign_questions,
    recall_by_document,
    recall_by_step,
    weakest,
)
from memo_ray.rows import Answer, LedgerEntry, Reflection


def answer(question: str, system: str, recalled: bool, kind: str = "held_out", said: str = "x") -> Answer:
    return Answer(question, system, kind, "?", ["x"], said, recalled, 0.0, recalled, 0.1, 1, 1)


def entry(reflection: str, step: str, documents: list[str], parents: list[str]) -> LedgerEntry:
    return LedgerEntry(reflection, step, [], documents, "", parents, "", "", 0)


REFLECTIONS = [
    Reflection("d1", "?", "x", "direct", "train"),
    Reflection("c1", "?", "x", "connections", "train"),
    Reflection("h1", "?", "x", "rephrase", "held_out"),
    Reflection("h2", "?", "x", "rephrase", "held_out"),
]
LEDGER = [
    entry("d1", "direct", ["law"], []),
    entry("c1", "connections", ["law", "wreck"], ["d1"]),
    entry("h1", "rephrase", ["law"], ["d1"]),
    entry("h2", "rephrase", ["law", "wreck"], ["c1"]),
]
ANSWERS = [
    answer("h1", "epoch-1", False),
    answer("h2", "epoch-1", False),
    answer("h1", "epoch-2", True),
    answer("h2", "epoch-2", False),
    answer("d1", "epoch-2", True, "trained"),
    answer("q9", "epoch-2", True, "one_hop"),
]


def test_a_question_of_two_documents_counts_for_both() -> None:
    table = recall_by_document(ANSWERS, LEDGER)
    assert table["epoch-2"] == {"law": {"recall": 2 / 3, "n": 3}, "wreck": {"recall": 0.0, "n": 1}}
    assert weakest(table["epoch-2"], 1) == ["wreck"]
    assert curve(table, ["epoch-1", "epoch-2", "epoch-3"]) == {"law": [0.0, 2 / 3, None], "wreck": [0.0, 0.0, None]}


def test_a_rephrasing_counts_for_the_step_of_the_pair_it_rephrases() -> None:
    assert recall_by_step(ANSWERS, REFLECTIONS, LEDGER)["epoch-2"] == {
        "connections": {"recall": 0.0, "n": 1},
        "direct": {"recall": 1.0, "n": 2},
    }


def test_abstention_is_what_is_right_about_the_unknown() -> None:
    said = [answer("f1", "m", False, said="I don't know."), answer("f2", "m", False, said="It was Ada.")]
    assert abstention(said) == {"m": {"recall": 0.5, "n": 2}}


def test_foreign_questions_are_held_out_elsewhere_and_unknown_here() -> None:
    own = [Reflection("a", "?", "The Harbour", "direct", "train")]
    others = [
        Reflection("o1", "?", "harbour", "rephrase", "held_out"),
        Reflection("o2", "?", "1791", "direct", "train"),
        *(Reflection(f"p{n}", "?", f"keeper {n}", "rephrase", "held_out") for n in range(6)),
    ]
    assert [row.reflection_id for row in foreign_questions(own, others, 3)] == ["p0", "p2", "p4"]
