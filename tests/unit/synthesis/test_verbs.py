"""Forms of words and the verb of a statement."""

from __future__ import annotations

import pytest

from memo_ray.synthesis.verbs import auxiliary, base_forms, main_verb, past_forms, stem


@pytest.mark.parametrize(
    ("one", "other"),
    [("built", "build"), ("opened", "open"), ("islands", "island"), ("Solt's", "Solt"), ("carried", "carry"),
     ("taught", "teach"), ("wrote", "written"), ("races", "race"), ("founded", "found")],
)  # fmt: skip
def test_forms_of_one_word_have_one_stem(one: str, other: str):
    assert stem(one) == stem(other)


@pytest.mark.parametrize(("one", "other"), [("glass", "glad"), ("north", "nor"), ("1784", "1785"), ("pass", "past")])
def test_other_words_have_other_stems(one: str, other: str):
    assert stem(one) != stem(other)


@pytest.mark.parametrize(
    ("sentence", "verb", "asked_with"),
    [
        ("The mason Rolf Anstick built the wall", "built", "did"),
        ("The Halvet Courier appears every week", "appears", "does"),
        ("Workers heat the pans with peat", "heat", "do"),
        ("The village of Oddal is the only village", "is", "is"),
        ("The smith Ottla Reeve cast two bells", "cast", "did"),
        ("The editor started the feast for the drowned crew", "started", "did"),
    ],
)
def test_the_verb_tells_the_auxiliary(sentence: str, verb: str, asked_with: str):
    words = sentence.split()
    assert words[main_verb(words)] == verb
    assert auxiliary(verb) == asked_with


def test_bases_and_pasts():
    assert base_forms("built") == {"build"}
    assert "raise" in base_forms("raised")
    assert "stop" in base_forms("stopped")
    assert base_forms("carries") == {"carry"}
    assert past_forms("build") == {"built"}
    assert "opened" in past_forms("open")
