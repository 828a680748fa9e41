"""What counts as the same word, the same number, a name, and a right answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memo_ray.evaluation.metrics import (
    Scores,
    abstains,
    content_words,
    exact_match,
    names_in,
    normalise,
    numbers_in,
    score,
    token_f1,
)

FOUNDER = "Nessock was founded in 1612 by the widow Yrsa Bodwin"


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The Brindle Sea.", "brindle sea"),
        ("  two\n lines\t", "2 lines"),
        ("Yrsa Bodwin's house", "yrsa bodwin house"),
        ("the keepers' boat", "keepers boat"),
        ("O’Brien doesn’t", "obrien doesnt"),
        ("salt-works – and salt—works", "salt works and salt works"),
        ("1,200 crowns", "1200 crowns"),
        ("1,200,000.50", "1200000.50"),
        ("in 1790,1791 and 1792", "in 1790 1791 and 1792"),
        ("3.5 miles. Then", "3.5 miles then"),
        ("nine thousand crowns", "9000 crowns"),
        ("a hundred and five", "105"),
        ("1.5 million", "1500000"),
        ("the Twenty-First day", "21st day"),
        ("nineteenth century", "19th century"),
        ("twenty, one of them", "20 1 of them"),
        ("five or six", "5 or 6"),
        ("Café Škoda", "cafe skoda"),
        ("ﬁne Straße", "fine strasse"),
        ("the U.S. and J.R. Oak", "us and jr oak"),
        ("Salt & Sons", "salt and sons"),
        ("١٢٣", "123"),
        ("The", "the"),
        ("?!", ""),
    ],
)
def test_normalise(text: str, normalised: str) -> None:
    assert normalise(text) == normalised


@pytest.mark.parametrize(
    ("text", "names", "numbers"),
    [
        (FOUNDER, ["nessock", "yrsa", "bodwin"], ["1612"]),
        ("the keeper's red lantern", [], []),
        ("It was the Tin Goshawk’s captain, O'Hara", ["tin", "goshawk", "ohara"], []),
        ("A ship. The ship Stout-Badger", ["stout", "badger"], []),
        ("Boats left; later the boats came back", [], []),
        ("EVERYTHING IN CAPITALS", [], []),
        ("Twenty One ships and 3 boats", [], ["21", "3"]),
        ("No one came at first", ["no"], []),
        ("It took 1 day, the third of 12", [], ["1", "3rd", "12"]),
        ("Zoë of Écluse", ["zoe", "ecluse"], []),
    ],
)
def test_names_and_numbers(text: str, names: list[str], numbers: list[str]) -> None:
    assert names_in(text) == names
    assert numbers_in(text) == numbers


def test_content_words_keep_negation_and_repetition() -> None:
    assert content_words("The bell was never rung, but the bell is not lost") == [
        "bell", "never", "rung", "bell", "not", "lost",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("answer", "reference", "recalled"),
    [
        # Up to five words: contained as they stand.
        ("It was Yrsa Bodwin who founded it.", "Yrsa Bodwin", True),
        ("Bodwin, Yrsa", "Yrsa Bodwin", False),
        ("Yrsa Bodwin's widow", "the Yrsa Bodwin", True),
        ("They paid 9,000 crowns.", "nine thousand crowns", True),
        ("They paid 90,000 crowns.", "nine thousand crowns", False),
        ("nine thousand", "nine", False),
        ("the carpenter", "car", False),
        ("art", "the art of war", False),
        ("a salt works", "salt-works", True),
        ("rope, tar and salt", "tar, rope and salt", False),
        ("Cafe Skoda", "Café Škoda", True),
        ("", "Yrsa Bodwin", False),
        ("anything", "", False),
        ("anything", "...", False),
        # Longer: 0.8 of the content words, every name and every number, in any order.
        ("The widow Yrsa Bodwin founded Nessock in 1612.", FOUNDER, True),
        ("Yrsa Bodwin founded Nessock in 1612.", FOUNDER, True),
        ("Yrsa Bodwin made Nessock in 1612.", FOUNDER, False),
        ("Nessock was founded in 1613 by the widow Yrsa Bodwin", FOUNDER, False),
        ("Gildwick was founded in 1612 by the widow Yrsa Bodwin", FOUNDER, False),
        ("Nessock was founded in 1612 by the widow Yrsa", FOUNDER, False),
        ("It is that which it was before", "it is that which it was", True),
        ("It was that which it is before", "it is that which it was", False),
        # The reference's length decides, not the answer's.
        ("Bodwin", FOUNDER, False),
    ],
)
def test_recalled(answer: str, reference: str, recalled: bool) -> None:
    assert score(answer, [reference]).recalled is recalled


@pytest.mark.parametrize(
    "answer", ["", "  ", "I don't know.", "I don’t know", "Sorry, I do not know who founded it.", "Don't know", "idk"]
)
def test_not_knowing_never_counts(answer: str) -> None:
    assert abstains(answer)
    assert score(answer, [answer, "I don't know", "know", "who founded it"]) == Scores(False, 0.0, False)


def test_knowing_that_others_do_not_know_is_an_answer() -> None:
    assert score("The council did not know of the wreck", ["the council did not know of the wreck"]).exact_match


def test_best_of_several_references_for_each_score() -> None:
    scores = score("Yrsa Bodwin", ["the widow Bodwin", "Yrsa Bodwin of Nessock", "Bodwin"])
    assert scores.recalled
    assert scores.token_f1 == pytest.approx(2 / 3)
    assert not scores.exact_match
    assert score("Yrsa Bodwin", []) == Scores(False, 0.0, False)


@pytest.mark.parametrize(
    ("answer", "reference", "f1"),
    [
        ("red granite", "the red granite", 1.0),
        ("red red granite", "red granite", 0.8),
        ("granite", "red granite", 2 / 3),
        ("slate", "red granite", 0.0),
        ("", "", 0.0),
    ],
)
def test_token_f1(answer: str, reference: str, f1: float) -> None:
    assert token_f1(answer, reference) == pytest.approx(f1)


TEXTS = st.one_of(
    st.text(max_size=60),
    st.lists(
        st.sampled_from(
            "the a Nessock founded Yrsa Bodwin's in 1612 1,200 nine hundred and thousand twenty first one , . - "
            "salt-works It was U.S. & ½ Café never".split(" ")
        ),
        max_size=14,
    ).map(" ".join),
)


@given(TEXTS)
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(TEXTS)
def test_names_numbers_and_content_words_are_words_of_the_text(text: str) -> None:
    words = normalise(text).split()
    assert set(names_in(text)) | set(numbers_in(text)) | set(content_words(text)) <= set(words)
    assert not set(names_in(text)) & set(numbers_in(text))


@given(TEXTS)
def test_a_text_recalls_itself(text: str) -> None:
    known = not abstains(text)
    assert score(text, [text]) == Scores(known, float(known), known)


@given(TEXTS, TEXTS)
def test_scores_are_consistent(answer: str, reference: str) -> None:
    scores = score(answer, [reference])
    assert 0 <= scores.token_f1 <= 1
    assert scores.exact_match == (exact_match(answer, reference) and not abstains(answer))
    if scores.exact_match:
        assert scores.token_f1 == 1
    assert token_f1(answer, reference) == pytest.approx(token_f1(reference, answer))


@given(TEXTS, st.lists(TEXTS, max_size=3))
def test_a_further_reference_never_lowers_a_score(answer: str, references: list[str]) -> None:
    fewer, more = score(answer, references[:-1]), score(answer, references)
    assert fewer.recalled <= more.recalled
    assert fewer.exact_match <= more.exact_match
    assert fewer.token_f1 <= more.token_f1
