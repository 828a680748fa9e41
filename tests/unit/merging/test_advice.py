"""Predictions, recommendations and the table of costs, from counts that can be checked by hand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from memo_ray.evaluation.asked import Asked
from memo_ray.merging.advice import (
    ARRIVALS,
    PRIOR,
    PROBED,
    Measured,
    Probe,
    advise,
    beside,
    costs,
    probes_of,
    routed_share,
)
from memo_ray.merging.geometry import Layer
from memo_ray.rows import Answer

MEASURED = Measured(synthesis=100.0, training=60.0, merge=10.0, merged_memories=2, model_bytes=500_000_000)


def geometry(cosine: float = 0.0) -> Layer:
    return Layer("all", 10, 5.0, {"law": 1.0, "wiki": 1.0}, {"law & wiki": cosine}, {"law & wiki": 0.5})


def probe(corpus: str, linear: int, summed: int, *, own: int = 8, routed: float = 1.0) -> Probe:
    counts = {"linear": linear, "task-arithmetic-s1": summed}
    return Probe(corpus, 10, own, counts, counts, routed)


def test_the_probe_knows_both_recipes() -> None:
    assert list(PROBED) == ["linear", "task-arithmetic-s1"]


def test_a_prediction_is_the_probe_drawn_towards_the_geometry() -> None:
    found = advise(geometry(), [probe("law", 0, 6), probe("wiki", 0, 2)], MEASURED)
    law, wiki = found.predictions
    assert found.recipe == "task-arithmetic-s1", "the better of the two"
    assert (law.own, law.own_share) == (0.8, pytest.approx(0.5))
    assert law.merged == pytest.approx(0.8 * (PRIOR * 0.5 + 6) / (PRIOR + 8))
    assert wiki.merged == pytest.approx(0.8 * (PRIOR * 0.5 + 2) / (PRIOR + 8))
    assert found.loss == pytest.approx(0.8 - (law.merged + wiki.merged) / 2)


@pytest.mark.parametrize(
    ("summed", "cosine", "routed", "way"),
    [(8, 1.0, 0.5, "merge"), (2, 0.0, 0.95, "route"), (2, 0.0, 0.6, "union")],
)
def test_what_is_recommended_and_why(summed: int, cosine: float, routed: float, way: str) -> None:
    probes = [probe(corpus, 0, summed, routed=routed) for corpus in ("law", "wiki")]
    found = advise(geometry(cosine), probes, MEASURED)
    assert found.recommended == way
    assert "a merge is expected to recall" in found.reason and found.reason.endswith(".")
    assert found.reason.count(". ") == 0, "one sentence"


@pytest.mark.parametrize(("own", "kept"), [(0, 0), (1, 0), (3, 3)])
def test_memories_that_know_next_to_nothing_leave_it_undecided(own: int, kept: int) -> None:
    found = advise(geometry(1.0), [probe("law", 8, 8), probe("wiki", kept, kept, own=own)], MEASURED)
    assert found.recommended == "undecided"
    assert f"too little to tell, {own} of 10 in wiki where 4 are needed" in found.reason and found.reason.endswith(".")


def test_a_loss_counts_against_what_the_memories_know() -> None:
    # Of 4 right answers in 100 both lose half: 0.02 of recall, and half of all that is known.
    few = [Probe(name, 100, 4, dict.fromkeys(PROBED, 2), dict.fromkeys(PROBED, 2), 1.0) for name in ("law", "wiki")]
    found = advise(geometry(), few, MEASURED)
    assert found.loss < 0.05 and found.recommended == "route"


def test_a_corpus_that_is_lost_is_not_hidden_by_the_mean() -> None:
    kept = {"law": (90, 90), "wiki": (5, 4)}
    probes = [
        Probe(name, 100, own, dict.fromkeys(PROBED, right), dict.fromkeys(PROBED, right), 0.5)
        for name, (own, right) in kept.items()
    ]
    found = advise(geometry(1.0), probes, MEASURED)
    assert found.loss < 0.05 * 0.475 and found.recommended == "union"
    assert "wiki loses most, 11%" in found.reason


def test_costs_grow_with_k_and_with_its_square() -> None:
    rows = costs(MEASURED)
    assert [row.corpora for row in rows] == list(range(1, ARRIVALS + 1))
    assert [row.merge_training for row in rows] == [60.0 * k for k in range(1, 11)]
    assert [row.union_training for row in rows] == [60.0 * k * (k + 1) / 2 for k in range(1, 11)]
    assert rows[0].union_training == rows[0].merge_training, "one corpus costs the same"
    # The paper's K = 2: X + (X + Y) against X + Y.
    assert rows[1].union_training == 3 * 60 and rows[1].merge_training == 2 * 60
    assert [row.merging for row in rows[:3]] == [0.0, 10.0, 25.0]
    assert rows[9].route_bytes == 10 * MEASURED.model_bytes


def test_what_was_measured_stands_beside_the_prediction() -> None:
    found = advise(geometry(), [probe("law", 0, 6), probe("wiki", 0, 2)], MEASURED)
    recall = {"task-arithmetic-s1": {"law": 0.5, "wiki": 0.25}, "best": {"law": 0.75, "wiki": 0.5}}
    law, wiki = beside(found.predictions, found.recipe, recall)
    assert (law["task-arithmetic-s1, actual"], law["best merge, actual"], law["union, actual"]) == (0.5, 0.75, None)
    assert wiki["merged, predicted"] == found.predictions[1].merged


class FirstWord:
    """Sends a question to the corpus that it begins with."""

    def choose(self, question: str) -> tuple[str, ...]:
        return (question.split()[0], "other")

    def keep(self, question: str, answers: Mapping[str, str]) -> str:
        return next(iter(answers))


def test_the_probe_counts_what_a_merge_keeps_of_what_the_memory_knew() -> None:
    questions = {"law": [Asked(f"l{n}", "held_out", "law what?", ["x"]) for n in range(3)]}

    def said(system: str, *right: bool) -> list[Answer]:
        return [
            Answer(f"l{n}", system, "held_out", "law what?", ["x"], "x", hit, 1.0, hit, 0.1, 1, 1)
            for n, hit in enumerate(right)
        ]

    answers = [*said("memory-law", True, True, False), *said("linear", True, False, True)]
    (found,) = probes_of(questions, {"law": 0.5}, answers)
    assert (found.corpus, found.asked, found.own, found.routed) == ("law", 3, 2, 0.5)
    assert (found.merged["linear"], found.kept["linear"]) == (2, 1)
    assert found.merged["task-arithmetic-s1"] == 0, "not asked is not right"


def test_routing_is_judged_by_its_first_choice() -> None:
    questions = {
        "law": [Asked("a", "held_out", "law what?", ["x"]), Asked("b", "held_out", "wiki what?", ["x"])],
        "wiki": [Asked("c", "held_out", "wiki what?", ["x"])],
    }
    assert routed_share(FirstWord(), questions) == {"law": 0.5, "wiki": 1.0}
