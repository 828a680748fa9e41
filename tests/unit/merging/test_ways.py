"""Routing from the memories' answers, its accuracy, and what each way has cost when all corpora are there."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from memo_ray.merging.ways import routed_answers, routing_accuracy, table, way_rows
from memo_ray.rows import Answer, SweepRow

HELD_OUT = {"law": {"l1", "l2"}, "wiki": {"w1", "w2"}}
TRAINING = {"law": 100.0, "wiki": 50.0}


class ByLetter:
    """Sends a question to the corpus that its text begins with, else to both; keeps the longest answer."""

    def choose(self, question: str) -> tuple[str, ...]:
        return (question,) if question in HELD_OUT else ("law", "wiki")

    def keep(self, question: str, answers: Mapping[str, str]) -> str:
        return max(answers, key=lambda name: len(answers[name]))


def answer(system: str, question_id: str, question: str, said: str, right: bool, kind: str = "held_out") -> Answer:
    return Answer(question_id, system, kind, question, ["x"], said, right, float(right), right, 0.5, 10, 3)


ANSWERS = [
    answer("memory-law", "l1", "law", "yes", right=True),
    answer("memory-law", "l2", "both", "a long one", right=True),
    answer("memory-law", "w1", "wiki", "a very long one", right=False),
    answer("memory-law", "w2", "law", "no", right=False),
    answer("memory-wiki", "l1", "law", "a very long one", right=False),
    answer("memory-wiki", "l2", "both", "short", right=False),
    answer("memory-wiki", "w1", "wiki", "yes", right=True),
    answer("memory-wiki", "w2", "law", "yes", right=True),
]


def test_routing_takes_the_chosen_memorys_answer_and_costs_what_it_asked() -> None:
    routed = {row.question_id: row for row in routed_answers("likeliest", ByLetter(), ANSWERS, ["law", "wiki"])}
    assert {name: row.answer for name, row in routed.items()} == {
        "l1": "yes", "l2": "a long one", "w1": "yes", "w2": "no",
    }  # fmt: skip
    assert {row.system for row in routed.values()} == {"routed-likeliest"}
    assert [routed[name].recalled for name in ("l1", "l2", "w1", "w2")] == [True, True, True, False]
    assert (routed["l1"].seconds, routed["l1"].input_tokens) == (0.5, 10)
    assert (routed["l2"].seconds, routed["l2"].input_tokens) == (1.0, 20), "two memories were asked"


def test_a_memory_that_could_not_be_asked_is_passed_over() -> None:
    left = [row for row in ANSWERS if row.question_id == "l2" and row.system == "memory-wiki"]
    assert [row.answer for row in routed_answers("all", ByLetter(), left, ["law", "wiki"])] == ["short"]
    alone = [row for row in ANSWERS if row.question_id == "w1" and row.system == "memory-law"]
    assert routed_answers("likeliest", ByLetter(), alone, ["law", "wiki"]) == []


def test_accuracy_is_by_corpus_and_kind_and_a_shared_question_may_go_to_either() -> None:
    owners = {"l1": {"law"}, "l2": {"law", "wiki"}, "w1": {"wiki"}, "w2": {"wiki"}}
    found = routing_accuracy(ByLetter(), ANSWERS, owners)
    assert found["law"]["held_out"] == 1.0
    assert found["wiki"]["held_out"] == pytest.approx(2 / 3)


def test_rows_hold_recall_by_corpus_and_the_seconds_of_every_arrival() -> None:
    routed = routed_answers("likeliest", ByLetter(), ANSWERS, ["law", "wiki"])
    union = [answer("union", name, "both", "yes", right=True) for name in ("l1", "l2", "w1", "w2")]
    rows = {row.way: row for row in way_rows([*ANSWERS, *union, *routed], HELD_OUT, TRAINING, 160.0)}
    assert list(rows) == ["memory-law", "memory-wiki", "union", "routed-likeliest"]
    assert json.loads(rows["memory-law"].recall_by_corpus) == {"law": 1.0, "wiki": 0.0}
    assert (rows["routed-likeliest"].recall, rows["union"].recall) == (0.75, 1.0)
    assert (rows["memory-wiki"].seconds, rows["memory-wiki"].models) == (50.0, 1)
    assert (rows["union"].seconds, rows["union"].models) == (100.0 + 160.0, 1), "X + (X + Y)"
    assert (rows["routed-likeliest"].seconds, rows["routed-likeliest"].models) == (150.0, 2)


def test_merges_and_other_ways_stand_in_one_table_best_first() -> None:
    rows = way_rows([row for row in ANSWERS if row.system == "memory-law"], HELD_OUT, TRAINING, 0.0)
    merge = SweepRow("linear", "linear", "{}", 0.25, json.dumps({"law": 0.5, "wiki": 0.0}), 0.3, 4.0, 9.0, True)
    found = table([merge], rows, TRAINING, {"linear": 0.25}, 1_500_000_000)
    assert [row["way"] for row in found] == ["memory-law", "linear"]
    assert found[1]["seconds"] == 154.0 and found[0]["recall_by_corpus"] == {"law": 1.0, "wiki": 0.0}
    assert found[0].keys() == found[1].keys()
    assert [(row["seconds_a_question"], row["gb_to_serve"]) for row in found] == [(0.5, 1.5), (0.25, 1.5)]


def test_routing_takes_the_weights_of_every_memory_and_what_is_not_known_is_left_out() -> None:
    rows = way_rows(routed_answers("all", ByLetter(), ANSWERS, ["law", "wiki"]), HELD_OUT, TRAINING, 0.0)
    (routed,) = table([], rows, TRAINING, {}, 1_500_000_000)
    assert (routed["models"], routed["gb_to_serve"]) == (2, 3.0) and routed["seconds_a_question"] > 0.5
    merge = SweepRow("linear", "linear", "{}", 0.25, "{}", 0.3, 4.0, 9.0, True)
    (merged,) = table([merge], [], TRAINING, {}, 0)
    assert (merged["seconds_a_question"], merged["gb_to_serve"]) == (None, None)
