"""Figures from answers, and the choice of an epoch by held-out questions alone."""

from __future__ import annotations

import pytest

from memo_ray.evaluation.recall import FEWEST, choice_facts, choose_epoch, held_out_recall, is_study, recall_table
from memo_ray.rows import Answer, Reflection

EPOCHS = ["epoch-1", "epoch-2", "epoch-10"]


def answer(system: str, kind: str, recalled: bool, f1: float = 0.0, question: str = "q") -> Answer:
    return Answer(question, system, kind, "?", ["a"], "a", recalled, f1, recalled and f1 == 1, 0.1, 1, 1)


def reflections(far: int, near: int) -> list[Reflection]:
    """A trained question, `far` held-out ones that share one of its words, and `near` ones that repeat it."""
    asked = {f"f{n}": f"Whose hand lit lamp {n} of the tower?" for n in range(far)}
    asked |= {f"n{n}": "Who kept the harbour lighthouse, then?" for n in range(near)}
    held_out = [Reflection(name, question, "a", "rephrase", "held_out") for name, question in asked.items()]
    return [Reflection("t", "Who kept the harbour lighthouse?", "a", "direct", "train"), *held_out]


def answers(right: dict[str, set[str]], far: int, near: int) -> list[Answer]:
    """An answer of every epoch in `right` to each held-out question of `reflections`; `right`: those that recall."""
    ids = [row.reflection_id for row in reflections(far, near) if row.split == "held_out"]
    return [answer(epoch, "held_out", name in known, question=name) for epoch, known in right.items() for name in ids]


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
    right = {"epoch-1": {"f0"}, "epoch-2": {"f0", "f1", "f2"}, "epoch-10": {"f3", "f4", "f5"}}
    rows = answers(dict(reversed(right.items())), far=6, near=0)
    assert choose_epoch(rows, EPOCHS, reflections(6, 0)) == "epoch-10"
    recall = {"epoch-1": pytest.approx(1 / 6), "epoch-2": 0.5, "epoch-10": 0.5}
    assert choice_facts(rows, EPOCHS, reflections(6, 0)) == {
        "epoch": "epoch-10",
        "chosen_by": "recall on the 6 of 6 held-out questions that are far from trained ones",
        "held_out_recall": recall,
        "deciding_recall": recall,
    }


def test_questions_near_a_trained_one_do_not_decide() -> None:
    near = {f"n{n}" for n in range(20)}
    rows = answers({"epoch-1": {"f0", "f1"}, "epoch-2": {"f0", *near}}, FEWEST, 20)
    facts = choice_facts(rows, EPOCHS, reflections(FEWEST, 20))
    assert facts["epoch"] == "epoch-1"
    assert facts["chosen_by"] == "recall on the 5 of 25 held-out questions that are far from trained ones"
    assert facts["deciding_recall"] == {"epoch-1": 0.4, "epoch-2": 0.2}
    assert facts["held_out_recall"] == {"epoch-1": 2 / 25, "epoch-2": 21 / 25}


def test_of_equals_on_far_questions_all_decide() -> None:
    rows = answers({"epoch-1": {"f0", "n0"}, "epoch-2": {"f1"}}, FEWEST, 3)
    assert choose_epoch(rows, EPOCHS, reflections(FEWEST, 3)) == "epoch-1"


def test_too_few_far_questions_are_not_chosen_on_alone_and_it_says_so() -> None:
    far = FEWEST - 1
    rows = answers({"epoch-1": {"f0", "f1"}, "epoch-2": {"n0", "n1", "n2"}}, far, 3)
    facts = choice_facts(rows, EPOCHS, reflections(far, 3))
    assert facts["epoch"] == "epoch-2"
    assert facts["chosen_by"] == "recall on all 7 held-out questions, 4 of which are far from trained ones"
    assert facts["deciding_recall"] == facts["held_out_recall"]


def test_only_answered_questions_count_as_far() -> None:
    rows = answers({"epoch-1": {"f0"}, "epoch-2": {"n0", "n1"}}, FEWEST, 3)
    answered = [row for row in rows if row.question_id != "f1"]  # the engine refused it
    assert choose_epoch(answered, EPOCHS, reflections(FEWEST, 3)) == "epoch-2"


@pytest.mark.parametrize("far", [0, FEWEST])
def test_other_kinds_never_decide(far: int) -> None:
    rows = answers({"epoch-1": {"f0", "n0"}, "epoch-2": set()}, far, 3)
    kinds = ("trained", "one_hop", "two_hop", "three_hop", "four_hop", "questions", "general", "foreign")
    tempting = [answer("epoch-2", kind, True, 1.0, f"f{n}") for kind in kinds for n in range(30)]
    assert choose_epoch(rows + tempting, EPOCHS, reflections(far, 3)) == "epoch-1"


def test_without_held_out_questions_it_is_the_last_and_says_so() -> None:
    rows = [answer("epoch-1", "one_hop", True)]
    facts = choice_facts(rows, EPOCHS, reflections(0, 0))
    assert facts["epoch"] == choose_epoch(rows, EPOCHS, []) == "epoch-10"
    assert facts["chosen_by"] == "no held-out questions: the last epoch"
    assert held_out_recall(rows, EPOCHS) == {}


def test_an_epoch_whose_prompts_all_failed_is_not_chosen() -> None:
    assert choose_epoch([answer("epoch-2", "held_out", False)], EPOCHS, []) == "epoch-2"


def test_no_epochs_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at least one epoch"):
        choose_epoch([], [], [])


def test_an_epoch_of_study_is_known_by_the_trainings_facts() -> None:
    facts = {"study": {"epochs": [4], "wrong_before": 3, "wrong_after": 0}}
    assert is_study("epoch-4", facts)
    assert not is_study("epoch-3", facts) and not is_study("epoch-4", {})
