"""Number words to digits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memo_ray.evaluation.numerals import ORDINALS, with_digits


@pytest.mark.parametrize(
    ("text", "digits"),
    [
        ("zero", "0"),
        ("nine hundred and ninety nine", "999"),
        ("twelve hundred", "1200"),
        ("two hundred thousand and three", "200003"),
        ("three million two hundred thousand", "3200000"),
        ("hundred", "100"),
        ("1.5 million crowns", "1500000 crowns"),
        ("3 hundred", "300"),
        ("1.23456 thousand", "1.23456 1000"),
        ("twenty first", "21st"),
        ("twelfth", "12th"),
        ("one hundred and second", "102nd"),
        ("eleventh", "11th"),
        ("five six", "5 6"),
        ("seventeen ninety one", "17 91"),
        ("thousand million", "1000 1000000"),
        ("five and six", "5 and 6"),
        ("five hundred and then", "500 and then"),
        ("twenty zero", "20 0"),
        ("someone won", "someone won"),
        ("", ""),
    ],
)
def test_with_digits(text: str, digits: str) -> None:
    assert " ".join(with_digits(text.split())) == digits


def test_ordinals_are_spelled_right() -> None:
    assert {"first", "fourth", "eighth", "ninth", "twelfth", "twentieth", "ninetieth", "hundredth"} <= set(ORDINALS)
    assert not {"twentyth", "nineth", "oneth", "fiveth"} & set(ORDINALS)


UNITS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
UNITS += "seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def spelled(number: int) -> str:
    """`number` below a billion in words, the way it is read aloud."""
    if number < 20:
        return UNITS[number]
    if number < 100:
        return " ".join([TENS[number // 10 - 2], *([UNITS[number % 10]] if number % 10 else [])])
    for scale, word in ((10**6, "million"), (10**3, "thousand"), (100, "hundred")):
        if number >= scale:
            rest = number % scale
            joint = " and " if scale == 100 or rest < 100 else " "
            return f"{spelled(number // scale)} {word}" + (joint + spelled(rest) if rest else "")
    raise AssertionError(number)


@given(st.integers(0, 10**9 - 1))
def test_every_number_read_aloud_comes_back(number: int) -> None:
    assert with_digits(spelled(number).split()) == [str(number)]
