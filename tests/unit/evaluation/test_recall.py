"""Figures from answers, and the choice of an epoch by held-out questions alone."""

from __future__ import annotations

import pytest

from memo_ray.evaluation.recall import choice_facts, choose_epoch, held_out_recall, is_study, recall_table
from memo_ray.rows import Answer

EPOCHS = ["epoch-1", "epoch-2", "epoch-10"]


def answer(system: str, kind: str, recalled: bool, f1: float = 0.0) -> Answer:
    return Answer("q", system, kind, "?", ["a"], "a", recalled, f1, recalled and f1 == 1, 0.1, 1, 1)


def test_table_has_means_and_counts_in_the_order_of_kinds() -> None:
    rows = [
        answer("base", "one_hop", False),
        answer("base", "trained", True, 1.0),
        answer("base", "trained", False, 0.5),
        answer("epoch-1", "trained", True, 0.5),
    ]
    table = recall_table(rows)
    assert table["base"]["trained"] == {"recall": 0.5, "token_f1": 0.75, "exact_match": 0.5, "n": 2}
    assert list(table) == ["base", "epoch-1"]
    assert list(table["base"]) == ["trained", "one_hop"]
    assert recall_table([]) == {}


def test_best_held_out_recall_is_chosen_and_the_later_of_equals() -> None:
    right = {"epoch-1": 1, "epoch-2": 3, "epoch-10": 3}
    rows = [answer(epoch, "held_out", n < right[epoch]) for epoch in reversed(EPOCHS) for n in range(4)]
    assert choose_epoch(rows, EPOCHS) == "epoch-10"
    assert choice_facts(rows, EPOCHS) == {
        "epoch": "epoch-10",
        "chosen_by": "recall on held-out questions",
        "held_out_recall": {"epoch-1": 0.25, "epoch-2": 0.75, "epoch-10": 0.75},
    }


def test_other_kinds_never_decide() -> None:
    rows = [answer("epoch-1", "held_out", True), answer("epoch-2", "held_out", False)]
    tempting = [answer("epoch-2", kind, True) for kind in ("trained", "one_hop", "two_hop")]
    assert choose_epoch(rows + tempting, EPOCHS) == "epoch-1"


def test_without_held_out_questions_it_is_the_last_and_says_so() -> None:
    rows = [answer("epoch-1", "one_hop", True)]
    facts = choice_facts(rows, EPOCHS)
    assert facts["epoch"] == choose_epoch(rows, EPOCHS) == "epoch-10"
    assert facts["chosen_by"] == "no held-out questions: the last epoch"
    assert held_out_recall(rows, EPOCHS) == {}


def test_an_epoch_whose_prompts_all_failed_is_not_chosen() -> None:
    assert choose_epoch([answer("epoch-2", "held_out", False)], EPOCHS) == "epoch-2"


def test_no_epochs_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at least one epoch"):
        choose_epoch([], [])


def test_an_epoch_of_study_is_known_by_the_trainings_facts() -> None:
    facts = {"study": {"epochs": [4], "wrong_before": 3, "wrong_after": 0}}
    assert is_study("epoch-4", facts)
    assert not is_study("epoch-3", facts) and not is_study("epoch-4", {})
