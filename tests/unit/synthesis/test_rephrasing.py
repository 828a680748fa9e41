"""Held-out questions."""

from __future__ import annotations

import pytest

from memo_ray.synthesis import rephrasing
from memo_ray.synthesis.settings import StepSettings
from tests.unit.synthesis.conftest import make_pair

EVIDENCE = "The mason Rolf Anstick built the wall of Esk from red granite in 1784."
PARENT = make_pair("Who built the wall of Esk from red granite?", "Rolf Anstick", evidence=EVIDENCE)


@pytest.mark.parametrize(
    ("question", "opening"),
    [
        ("Who built the wall of Esk?", "What is the name of the person who"),
        ("Who was the mason of Esk?", "What is the name of the person who was"),
        ("Which mason built the wall of Esk?", "What is the name of the mason that"),
        ("When did Rolf Anstick build the wall?", "In which year did"),
        ("On which island does the Vell Tower stand?", "What is the name of the island on which"),
        ("Where does the Vell Tower stand?", "In what place does"),
        ("How many crowns did the wall cost?", "What was the number of crowns that"),
    ],
)
def test_every_kind_of_question_has_another_opening(question: str, opening: str):
    assert opening in [found for found, _ in rephrasing.other_openings(question, year=True)]


def test_a_day_is_not_asked_for_as_a_year():
    assert rephrasing.other_openings("When did the fair open?", year=False) == []


def test_turning_a_question_round_may_need_another_form_of_its_verb():
    ((_, words),) = rephrasing.other_openings("Which song did Nora Fenwith write for the feast?", year=False)
    assert {"Nora", "Fenwith", "write", "wrote", "feast"} <= set(words)


def test_the_child_is_held_out_and_keeps_the_answer(tiny: StepSettings):
    (prompt,) = rephrasing.prompts(PARENT, tiny)
    (child,) = rephrasing.pairs(prompt, {"question": "Which person built the wall of Esk from red granite?"})
    assert (child.split, child.step, child.answer) == ("held_out", "rephrase", "Rolf Anstick")
    assert child.parents == (PARENT.reflection_id,)


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("What is the name of the person who built the wall of Esk from red granite?", ""),
        ("Who built the wall of Esk from red granite ?", "same words"),
        ("Who from red granite built the wall of Esk?", ""),
        ("What is the name of the person who built the wall from red granite?", "leaves out esk"),
        ("Which person likes Esk?", "something else"),
    ],
)
def test_a_rephrasing_keeps_names_and_is_not_the_original(question: str, why: str):
    found = rephrasing.not_rephrased(make_pair(question, "Rolf Anstick", evidence=EVIDENCE), PARENT)
    assert (why in found) if why else not found


def test_the_paper_sized_generator_is_asked_freely(paper: StepSettings):
    (prompt,) = rephrasing.prompts(PARENT, paper)
    assert PARENT.question in prompt.messages[-1]["content"]
