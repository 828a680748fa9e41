"""Statements without their answer, and how a question for it opens."""

from __future__ import annotations

import pytest

from memo_ray.synthesis.cloze import clauses, clozes, descriptions, shortened, unfaithful


def asked(sentence: str) -> set[tuple[str, str, str]]:
    return {(cloze.answer, cloze.opening, cloze.text) for cloze in clozes(sentence)}


@pytest.mark.parametrize(
    ("sentence", "answer", "opening", "text"),
    [
        ("The mason Rolf Anstick built the wall of Esk in 1784.", "Rolf Anstick", "Who", "____ built the wall of Esk."),
        ("The mason Rolf Anstick built the wall of Esk in 1784.", "Rolf Anstick", "Which mason", "____ built the wall of Esk."),
        ("The mason Rolf Anstick built the wall of Esk in 1784.", "1784", "When did", "The mason Rolf Anstick built the wall of Esk."),
        ("The mason Rolf Anstick built the wall of Esk in 1784.", "wall of Esk", "What did", "The mason Rolf Anstick built ____."),
        ("The Salt Works stands on the island of Ost near Varda.", "Ost", "On which island does", "The Salt Works stands near Varda."),
        ("Lena Korb was the sister of the glassblower Imre Solt.", "Imre Solt", "Whose sister was", "Lena Korb was the sister."),
        ("The Isle Council paid nine thousand crowns for the wall.", "nine thousand crowns", "How many crowns did", "The Isle Council paid ____ for the wall."),
        ("The Vell Tower is forty metres tall.", "forty metres tall", "How tall is", "The Vell Tower is ____."),
        ("The Courier is printed on pale green paper.", "pale green paper", "On what is", "The Courier is printed."),
        ("Vera Unwin bought the press from Captain Hanno Tweed.", "Captain Hanno Tweed", "From whom did", "Vera Unwin bought the press."),
        ("Every pupil of the Pask School learns knots and sums.", "knots and sums", "What does", "Every pupil of the Pask School learns ____."),
    ],
)  # fmt: skip
def test_openings_fit_their_answers(sentence: str, answer: str, opening: str, text: str):
    assert (answer, opening, text) in asked(sentence)


def test_the_answer_is_never_in_its_statement():
    sentence = "The shipwright Silas Thrane built the pilot boat Brass Kettle for the Pilot Office in 1816."
    assert all(cloze.answer not in cloze.text for cloze in clozes(sentence))


def test_only_the_statements_words_may_follow_and_the_verb_only_in_its_base_form():
    (cloze,) = [c for c in clozes("Imre Solt founded the Solt Works in 1902.") if c.opening == "When did"]
    assert {"Imre", "Solt", "found", "Works", "the"} <= set(cloze.words)
    assert "founded" not in cloze.words
    assert "1902" not in cloze.words


def test_two_verbs_of_one_subject_are_two_statements():
    sentence = "Tilda Moxey was the first head of the Pilot Office and led the Pilot Office until 1833."
    assert clauses(sentence) == [
        "Tilda Moxey was the first head of the Pilot Office.",
        "Tilda Moxey led the Pilot Office until 1833.",
    ]
    assert ("1833", "Until when did", "Tilda Moxey led the Pilot Office.") in asked(sentence)


def test_a_passive_keeps_its_auxiliary():
    assert (
        clauses("The Vell Tower is tall and painted with black bands.")[1]
        == "The Vell Tower is painted with black bands."
    )


def test_a_conjunction_of_nouns_is_not_taken_apart():
    sentence = "Guests eat smoked eel and barley cakes with honey."
    assert clauses(sentence) == [sentence]


def test_shortening_keeps_the_gap():
    assert shortened("____, the speaker of the council, wrote the law in 1811.") == "____ wrote the law in 1811."
    assert (
        shortened("The council passed the Bell Law because of ____.")
        == "The council passed the Bell Law because of ____."
    )


def test_descriptions_are_of_subjects():
    (found,) = descriptions("The lighthouse keeper Freya Gorl won the rowing race of the town in 1838.")
    assert (found.name, found.description, found.person) == ("Freya Gorl", "lighthouse keeper", True)
    assert found.rest == "won the rowing race of the town."
    assert descriptions("In 1838 the race was won by the keeper Freya Gorl.") == []


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("When did Imre Solt found the Solt Works in Varda?", ""),
        ("When did Imre Solt found the works?", "leaves out"),
        ("When was the Solt Works in Varda found by Imre Solt?", "words in their order"),
    ],
)
def test_a_question_must_say_what_its_statement_says(question: str, why: str):
    found = unfaithful(question, "Imre Solt founded the Solt Works in Varda.", 0.75)
    assert (why in found) if why else not found
