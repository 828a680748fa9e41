"""Whether a pair is supported by the text it came from: words and numbers first, then the generator's own answer.

Pure functions over strings. The paper trusts its 32B generator and has no such check; with a small generator it
removes what the model invents (`grounding` in the config). Words are compared by crude English stems.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from memo_ray.synthesis.lexicon import ASKING_WORDS, FUNCTION_WORDS, NUMBER_WORDS
from memo_ray.synthesis.verbs import stem

WORD = re.compile(r"\w+(?:[-'’]\w+)*")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
TEXTS_REMEMBERED = 256


def content_words(text: str) -> list[str]:
    """Stems of the words of `text` that carry meaning, in order."""
    return list(_content_words(text))


# Every pair of a chunk is held against the chunk, several times.
@lru_cache(TEXTS_REMEMBERED)
def _content_words(text: str) -> tuple[str, ...]:
    return tuple(stem(word) for word in WORD.findall(text) if word.lower() not in FUNCTION_WORDS)


@lru_cache(TEXTS_REMEMBERED)
def numbers(text: str) -> frozenset[str]:
    """Numbers of `text`, in digits or in words, so that `1,784` and `1784` are one."""
    digits = {found.replace(",", "").rstrip(".") for found in NUMBER.findall(text)}
    words = {word.lower() for word in WORD.findall(text) if set(word.lower().split("-")) <= NUMBER_WORDS}
    return frozenset(digits | (words - {"one"}))


def supported_share(text: str, sources: Iterable[str]) -> float:
    """Share of the content words of `text` that stand in `sources`; 1.0 for a text without content words."""
    words = content_words(text)
    known = {word for source in sources for word in content_words(source)}
    return sum(word in known for word in words) / len(words) if words else 1.0


def ungrounded(answer: str, sources: Iterable[str], share: float) -> str:
    """Why `answer` is not supported by `sources`: too few of its content words, or a number of its own; else empty."""
    sources = list(sources)
    known = {number for source in sources for number in numbers(source)}
    invented = sorted(numbers(answer) - known)
    if invented:
        return f"the number {invented[0]} of the answer is not in its source"
    found = supported_share(answer, sources)
    if found < share:
        return f"only {found:.0%} of the answer's content words are in its source, {share:.0%} are asked"
    return ""


def foreign_words(question: str, sources: Iterable[str]) -> list[str]:
    """Content words and numbers of `question` that neither stand in `sources` nor belong to asking."""
    known = {word for source in sources for word in content_words(source)}
    return [word for word in content_words(question) if word not in known and word not in ASKED_STEMS]


ASKED_STEMS = {stem(word) for word in ASKING_WORDS}


def swapped(question: str, sources: Iterable[str]) -> str:
    """A `NOUN of NAME` in `question` that its sources do not have, which a relation turned round shows; else empty."""
    known = {pair for source in sources for pair in attachments(source)}
    for noun, name in attachments(question):
        if (noun, name) not in known and noun not in ASKED_STEMS:
            return f"{noun} of {name}"
    return ""


ATTACHMENT = re.compile(r"\b([a-z][\w-]+) of (?:the |a |an )?(?:[a-z][\w-]+ ){0,3}?([A-Z][\w-]+)")


def attachments(text: str) -> set[tuple[str, str]]:
    """Stems of every noun that `of` ties to a name, with the name's first word."""
    return {(stem(noun), stem(name)) for noun, name in ATTACHMENT.findall(text)}


JOIN = re.compile(r"\band\b|&", re.IGNORECASE)


def agrees(answer: str, told: str) -> bool:
    """Whether two answers hold the same content words, up to a title or class noun that one adds: no second item.

    Numbers must be the same; of the words, all of the shorter must be in the longer, which may have four more.
    """
    first, second = set(content_words(answer)), set(content_words(told))
    if (
        numbers(answer) != numbers(told)
        or not first
        or not second
        or len(JOIN.findall(answer)) != len(JOIN.findall(told))
    ):
        return False
    shorter, longer = sorted((first, second), key=len)
    return shorter <= longer and len(longer) - len(shorter) <= 4 and len(shorter) * 2 >= len(first)


LONG_ANSWER = 6
"""Content words from which an answer counts as a sentence, of which no two tellings have the same words."""
SAME_TELLING = 0.6


def tell_the_same(answer: str, told: str) -> bool:
    """Whether two long answers share most of their content words (token F1) and contradict each other in no number."""
    first, second = set(content_words(answer)), set(content_words(told))
    if min(len(first), len(second)) < LONG_ANSWER or (
        numbers(answer) and numbers(told) and not numbers(answer) & numbers(told)
    ):
        return False
    return 2 * len(first & second) / (len(first) + len(second)) >= SAME_TELLING
