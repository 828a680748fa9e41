"""English number words to digits, so that "nine thousand" and "9,000" are the same number.

Goes in and comes out as lower-case words; a word that is no part of a number is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

UNITS = {word: value for value, word in enumerate("zero one two three four five six seven eight nine".split())}
TEENS = {
    word: 10 + value
    for value, word in enumerate(
        "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
    )
}
TENS = {
    word: 10 * value for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}
HUNDRED = {"hundred": 100}
SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}

IRREGULAR_ORDINALS = {
    "first": "one", "second": "two", "third": "three", "fifth": "five", "eighth": "eight", "ninth": "nine",
    "twelfth": "twelve",
}  # fmt: skip


def _ordinal_of(word: str) -> str:
    return word[:-1] + "ieth" if word.endswith("y") else word + "th"


KINDS = {"unit": UNITS, "teen": TEENS, "tens": TENS, "hundred": HUNDRED, "scale": SCALES}
VALUES = {word: (kind, value) for kind, words in KINDS.items() for word, value in words.items()}
ORDINALS = {_ordinal_of(word): word for word in VALUES if word not in ("zero", *IRREGULAR_ORDINALS.values())}
ORDINALS |= IRREGULAR_ORDINALS
"""An ordinal number's last word to its cardinal: "twentieth" to "twenty"."""

MAY_FOLLOW: dict[str, tuple[str, ...]] = {
    "unit": ("start", "tens", "hundred", "scale"),
    "teen": ("start", "hundred", "scale"),
    "tens": ("start", "hundred", "scale"),
    "hundred": ("start", "unit", "teen", "scale"),
    "scale": ("start", "unit", "teen", "tens", "hundred"),
}
"""Which kind of number word may come directly before which; anything else begins a new number."""


def with_digits(words: Sequence[str]) -> list[str]:
    """`words` with every written-out number replaced: "two hundred and five" by "205", "third" by "3rd".

    Digits before a scale are multiplied ("1.5 million" gives "1500000"). A year spelled in two halves
    ("seventeen ninety") stays two numbers.
    """
    found: list[str] = []
    place = 0
    while place < len(words):
        text, place = _scaled_digits(words, place) or _number(words, place) or (words[place], place + 1)
        found.append(text)
    return found


def _scaled_digits(words: Sequence[str], place: int) -> tuple[str, int] | None:
    """The number at `place` that is digits and a scale, such as "3 million": its digits, and the place behind it."""
    if place + 1 == len(words) or not words[place].replace(".", "", 1).isdecimal():
        return None
    scale = (HUNDRED | SCALES).get(words[place + 1])
    if scale is None:
        return None
    whole, _, part = words[place].partition(".")
    power = len(str(scale)) - 1
    if len(part) > power:
        return None
    return str(int(whole + part.ljust(power, "0"))), place + 2


def _number(words: Sequence[str], place: int) -> tuple[str, int] | None:
    """The longest number that begins at `place`, as its digits and the place behind it."""
    total, current, before, limit = 0, 0, "start", 10**12
    here = place
    while here < len(words):
        step = here
        if words[step] == "and" and before in ("hundred", "scale") and step + 1 < len(words):
            step += 1
        word = ORDINALS.get(words[step], words[step])
        kind, value = VALUES.get(word, ("", 0))
        fits = kind and before in MAY_FOLLOW[kind] and not (word == "zero" and before != "start")
        if not fits or (step > here and kind not in ("unit", "teen", "tens")) or (kind == "scale" and value >= limit):
            break
        if kind == "hundred":
            current = (current or 1) * value
        elif kind == "scale":
            total, current, limit = total + (current or 1) * value, 0, value
        else:
            current += value
        before, here = kind, step + 1
        if words[step] in ORDINALS:
            return _ordinal(total + current), here
    return (str(total + current), here) if here > place else None


def _ordinal(value: int) -> str:
    suffix = "th" if value % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(value % 10, "th")
    return f"{value}{suffix}"
