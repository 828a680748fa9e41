"""Whether words and numbers of a pair stand in its text."""

from __future__ import annotations

import pytest

from memo_ray.synthesis.grounding import (
    agrees,
    content_words,
    foreign_words,
    numbers,
    supported_share,
    swapped,
    ungrounded,
)

SOURCE = "The mason Rolf Anstick built the harbour wall from red granite in 1784 for nine thousand crowns."


def test_an_answer_in_other_forms_of_the_sources_words_is_supported():
    assert ungrounded("building the walls", [SOURCE], 1.0) == ""


def test_an_invented_word_is_not():
    assert "50%" in ungrounded("red marble", [SOURCE], 1.0)
    assert ungrounded("red marble", [SOURCE], 0.5) == ""


def test_an_invented_number_never_is():
    assert "1785" in ungrounded("1785", [SOURCE], 0.0)
    assert "eight" in ungrounded("eight thousand crowns", [SOURCE], 0.0)


def test_numbers_with_and_without_separator_are_one():
    assert numbers("9,000 crowns") == numbers("9000 crowns") == {"9000"}


def test_parents_count_as_sources():
    assert ungrounded("red granite and Vera Unwin", [SOURCE, "Vera Unwin printed it."], 1.0) == ""


def test_shares_and_words():
    assert supported_share("", [SOURCE]) == 1.0
    assert supported_share("granite palace", [SOURCE]) == 0.5
    assert content_words("the wall of the harbour") == content_words("wall harbour")


def test_a_question_may_ask_but_not_bring_in_facts():
    assert foreign_words("In which year was the harbour wall built?", [SOURCE]) == []
    assert foreign_words("Who built the harbour wall of Varda?", [SOURCE]) == ["varda"]


def test_a_relation_turned_round_is_seen():
    told = "The speaker Edmar Calloe was the husband of the harbour master Tilda Moxey."
    assert swapped("Who was the husband of the harbour master Tilda Moxey?", [told]) == ""
    assert swapped("Who was the husband of Edmar Calloe?", [told])


@pytest.mark.parametrize(
    ("answer", "told", "same"),
    [
        ("Rolf Anstick", "The mason Rolf Anstick", True),
        ("The mason Rolf Anstick", "Rolf Anstick", True),
        ("nine thousand crowns", "eight thousand crowns", False),
        ("1784", "1784", True),
        ("1784", "1785", False),
        ("red granite", "harbour wall", False),
        ("red granite", "", False),
        ("wall", "the harbour wall of red granite that the mason Rolf Anstick built", False),
    ],
)
def test_answers_agree_up_to_a_title(answer: str, told: str, same: bool):
    assert agrees(answer, told) is same
