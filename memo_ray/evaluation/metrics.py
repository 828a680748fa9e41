"""Is an answer right? Recall, token F1 and exact match of an answer against one or more references.

Plain comparison of words, without stemming, synonyms or a judge: what is counted can be checked by eye. It
does not understand negation: "it was not Ada" contains "Ada".
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from memo_ray.corpus.words import ARTICLES, FUNCTION_WORDS
from memo_ray.evaluation.numerals import with_digits

SHORT_REFERENCE_WORDS = 5
"""A reference of up to so many words must be contained in the answer as it stands."""
LONG_REFERENCE_SHARE = 0.8
"""Of a longer reference's content words, so many must be in the answer."""

DONT_KNOW = (("i", "dont", "know"), ("i", "do", "not", "know"), ("idk",))
"""Said anywhere in an answer; without the "i" only as the whole answer."""

_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc\u02b9\u0060\u00b4\uff07", "'"))
_FRACTION = re.compile(r"(?<=\d)(?=[\u00bc-\u00be\u2150-\u215e])")
_THOUSANDS = re.compile(r"(?<![\d.])(?<!\d,)\d{1,3}(?:,\d{3})+(?!,?\d)")
_INITIALS = re.compile(r"(?<![^\W_])(?:[^\W\d_]\.){2,}(?:[^\W\d_](?![^\W_]))?")
_POSSESSIVE = re.compile(r"(?<=[^\W\d_])'s(?![^\W_])")
_JOINING_APOSTROPHE = re.compile(r"(?<=[^\W_])'(?=[^\W_])")
_HYPHEN = re.compile(r"[-\u2010-\u2013\u2212]")
_FULL_STOP = re.compile(r"(?<!\d)\.|\.(?!\d)")
_CAPITALISED = re.compile(r"(?<![^\W_])(?<![^\W_]')[^\W\d_][^\W_]*(?:['.][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Scores:
    """One answer's scores; with several references each is the best over them. `token_f1` is in 0..1."""

    recalled: bool
    token_f1: float
    exact_match: bool


def score(answer: str, references: Sequence[str]) -> Scores:
    """`answer` against `references`, any of which is right.

    Recalled: a reference of up to five words is contained in the answer, as whole words in sequence; of a longer
    one at least 0.8 of the distinct content words and all names and numbers are there, in any order. An empty
    answer and one that says "I don't know" score nothing, whatever the references.
    """
    if abstains(answer):
        return Scores(False, 0.0, False)
    return Scores(
        recalled=any(recalls(answer, reference) for reference in references),
        token_f1=max((token_f1(answer, reference) for reference in references), default=0.0),
        exact_match=any(exact_match(answer, reference) for reference in references),
    )


def abstains(answer: str) -> bool:
    """Whether the answer is empty or says, somewhere, that its author does not know."""
    words = normalise(answer).split()
    return not words or any(_contains(words, phrase) or words == list(phrase[1:]) for phrase in DONT_KNOW)


def recalls(answer: str, reference: str) -> bool:
    """The recall rule of `score` for one reference. A reference without a word is never recalled."""
    said, wanted = normalise(answer).split(), normalise(reference).split()
    if not wanted:
        return False
    content = set(content_words(reference))
    if len(reference.split()) <= SHORT_REFERENCE_WORDS or not content:
        return _contains(said, wanted)
    required = {*names_in(reference), *numbers_in(reference)}
    return required <= set(said) and len(content & set(said)) / len(content) >= LONG_REFERENCE_SHARE


def token_f1(answer: str, reference: str) -> float:
    """F1 of the normalised words, each counted as often as it occurs; 0 when either side has none."""
    said, wanted = Counter(normalise(answer).split()), Counter(normalise(reference).split())
    shared = (said & wanted).total()
    return 2 * shared / (said.total() + wanted.total()) if shared else 0.0


def exact_match(answer: str, reference: str) -> bool:
    """Whether both are the same after normalisation, and not empty."""
    wanted = normalise(reference)
    return bool(wanted) and normalise(answer) == wanted


@functools.lru_cache(maxsize=16_384)
def normalise(text: str) -> str:
    """`text` in the form in which answers are compared: lower-case words with one space between them.

    As SQuAD's script does, case, punctuation and articles go (a text of articles alone keeps them). Beyond it:
    accents go, hyphens part words, a possessive loses its 's, initials are joined ("U.S." is "us"), "&" is
    "and", and numbers are digits without separators ("1,200" and "twelve hundred" are "1200", "third" is "3rd").
    Applying it twice changes nothing.
    """
    words = with_numbers(_clauses(text))
    return " ".join([word for word in words if word not in ARTICLES] or words)


def content_words(text: str) -> list[str]:
    """The normalised words of `text` that are no function words, in order, with repetitions."""
    return [word for word in normalise(text).split() if word not in FUNCTION_WORDS]


def numbers_in(text: str) -> list[str]:
    """The normalised numbers of `text`, in order, each once.

    A lone "one", "first" or "second" is seldom meant as a number ("no one", "at first") and counts only in digits.
    """
    clauses = list(_clauses(text))
    written = {word for clause in clauses for word in clause}
    numbers = [word for word in with_numbers(clauses) if _has_digit(word)]
    return list(dict.fromkeys(word for word in numbers if word not in ("1", "1st", "2nd") or word in written))


def names_in(text: str) -> list[str]:
    """The words of names in `text`, normalised, in order, each once.

    A name's word begins with a capital, is no function word, and does not stand in lower case elsewhere in the
    text. The word that opens a sentence is held to the same rule: there a name cannot be told from a noun, and
    an answer about another subject is wrong. A text in capitals has no names.
    """
    if text.upper() == text:
        return []
    text = _plain(text)
    words = set(normalise(text).split())
    spellings = [part for match in _CAPITALISED.finditer(text) for part in _HYPHEN.split(match.group())]
    lower = {normalise(part) for part in spellings if part.islower()}
    names = [normalise(part) for part in spellings if part[:1].isupper()]
    return [
        name
        for name in dict.fromkeys(names)
        if name in words and name not in lower | FUNCTION_WORDS and not _has_digit(name)
    ]


def with_numbers(clauses: Iterable[Sequence[str]]) -> list[str]:
    """All words, numbers as digits; a number never reaches over the end of a clause ("twenty, one of them")."""
    return [word for clause in clauses for word in with_digits(clause)]


def _clauses(text: str) -> Iterable[list[str]]:
    """The words of each stretch of `text` without punctuation, in lower case."""
    text = _plain(_plain(text).casefold())
    text = _THOUSANDS.sub(lambda match: match.group().replace(",", ""), text)
    text = _INITIALS.sub(lambda match: match.group().replace(".", ""), text)
    text = _POSSESSIVE.sub("", text)
    text = _JOINING_APOSTROPHE.sub("", text)
    text = _HYPHEN.sub(" ", text.replace("&", " and "))
    text = _FULL_STOP.sub("\n", " ".join(text.split()))
    text = "".join(c if c in " ." or unicodedata.category(c)[0] in "LNM" else "\n" for c in text)
    return [clause.split() for clause in text.split("\n")]


def _plain(text: str) -> str:
    """Compatible characters in their plain form: no accents, straight apostrophes, ASCII digits."""
    decomposed = unicodedata.normalize("NFKD", _FRACTION.sub(" ", text.translate(_APOSTROPHES)))
    plain = "".join(c for c in decomposed if not unicodedata.combining(c))
    return "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in plain)


def _contains(words: Sequence[str], sequence: Sequence[str]) -> bool:
    """Whether `sequence` occurs in `words`, as whole words in that order without gaps."""
    width = len(sequence)
    return any(tuple(words[start : start + width]) == tuple(sequence) for start in range(len(words) - width + 1))


def _has_digit(word: str) -> bool:
    return any(character.isdecimal() for character in word)
