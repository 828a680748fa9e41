"""Self-containment, form and leaks, by rules."""

from __future__ import annotations

import pytest

from memo_ray.synthesis.wording import (
    foreign_names,
    foreign_script,
    hollow,
    leaked_identifier,
    malformed,
    question_key,
    violations,
)

SOURCE = "Vera Unwin founded the Halvet Courier in Esmarrow in 1823."


@pytest.mark.parametrize(
    ("question", "answer", "kinds"),
    [
        ("When did Vera Unwin found the Halvet Courier?", "1823", []),
        ("When did she found the Halvet Courier?", "1823", ["unresolved_pronoun"]),
        ("When did Vera Unwin sell her newspaper?", "1850", []),
        ("Who founded the Halvet Courier?", "She", ["unresolved_pronoun"]),
        ("What does the passage say about Vera Unwin?", "She founded a paper.", ["implicit_reference"]),
        ("What is mentioned about the Courier?", "1823", ["implicit_reference"]),
        ("Who wrote the text of the Bell Law?", "Edmar Calloe", []),
        ("What happened?", "A fire", ["missing_subject"]),
        ("Who directed the film of the year?", "Vera Unwin", ["unnamed_entity"]),
        ("What did Vera Unwin do the next day?", "She printed.", ["vague_time"]),
        ("Who lived there with Vera Unwin?", "Nora", ["vague_place"]),
        ("How many islands are there in the Brindle Sea?", "four", []),
    ],
)
def test_violations_of_self_containment(question: str, answer: str, kinds: list[str]):
    assert violations(question, answer) == kinds


@pytest.mark.parametrize(
    ("question", "answer", "why"),
    [
        ("Who founded the Halvet Courier in Esmarrow?", "Vera Unwin", ""),
        ("Founded Vera Unwin the Halvet Courier?", "yes", "question word"),
        ("Who founded the Halvet Courier", "Vera Unwin", "question mark"),
        ("Who founded it? And the Halvet Courier?", "Vera Unwin", "question mark"),
        ("When did Vera Unwin found the Halvet Courier in 1823?", "1823", "its own answer"),
        ("Who founded the paper of the town?", "Vera Unwin", "names nothing"),
        ("Who founded the Courier and the Courier and the Courier?", "Vera Unwin", "repeats"),
    ],
)
def test_form_of_a_question(question: str, answer: str, why: str):
    found = malformed(question, answer, SOURCE)
    assert (why in found) if why else not found


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        ("When was the Bell Law passed?", False),
        ("What does bell-law say about fog?", True),
        ("What does bell-law.md say about fog?", True),
        ("[Bell Law] When was it passed?", True),
        ("According to document id 7, when was it passed?", True),
        ("When did 0123456789abcdef happen?", True),
        ("Which storm hit the coast?", False),
    ],
)
def test_identifiers_and_tags_are_found(text: str, leaks: bool):
    identifiers = ("bell-law", "docs/bell-law.md", "storm")
    assert bool(leaked_identifier(text, identifiers, "The Bell Law orders ships to ring in a storm.")) is leaks


def test_an_identifier_that_the_text_itself_uses_is_no_leak():
    assert (
        leaked_identifier("Who signed the salt-works treaty?", ("salt-works",), "The salt-works treaty of 1800.") == ""
    )


def test_questions_with_the_same_words_and_opening_are_one():
    assert question_key("When was the Bell Law passed in 1811?") == question_key(
        "When was in 1811 passed the Bell Law?"
    )
    assert question_key("When was the Bell Law passed?") != question_key("In which year was the Bell Law passed?")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Who was \u00c9mile?", ""),
        ("Who was \u738b?", "CJK"),
        ("Who was \u0418\u0432\u0430\u043d?", "CYRILLIC"),
        ("Who wrote \u03c0 down?", ""),
    ],
)
def test_letters_of_another_script_are_found_unless_the_source_has_them(text: str, found: str) -> None:
    assert found in foreign_script(text, ("LATIN",), "the number \u03c0")
    assert bool(found) == bool(foreign_script(text, ("LATIN",), "the number \u03c0"))
    assert foreign_script(text, (), "") == ""


def test_a_name_that_the_source_does_not_have_is_foreign():
    source = "Vera Unwin founded the Halvet Courier in 1823."
    assert foreign_names("When did Vera Unwin found the Courier?", [source]) == []
    assert foreign_names("Who founded the Pell Light?", [source]) == ["light", "pell"]


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("When did Vera Unwin found the Halvet Courier?", "1823", ""),
        ("What is the title of the novel that Vera Unwin wrote on Ombry?", "Low Tide", ""),
        ("Who is Vera Unwin?", "An editor", "nothing in particular"),
        ("What is the title of the novel by Vera Unwin?", "Low Tide", "fits others"),
        ("When did Vera Unwin run the Halvet Courier?", "1823 -- 1850", "span of time"),
        ("When did Vera Unwin retire?", "she was tired", "no time"),
        ("Where did Vera Unwin live?", "She founded a paper.", "no place"),
    ],
)
def test_hollow_questions(question: str, answer: str, reason: str):
    found = hollow(question, answer)
    assert reason in found and bool(found) == bool(reason)


def test_a_general_noun_without_its_name_is_a_violation():
    assert violations("Who plays Vera Unwin in the TV series?", "Nora Bell") == ["unnamed_entity"]
    assert violations("Who plays Vera Unwin in the film Low Tide?", "Nora Bell") == []
