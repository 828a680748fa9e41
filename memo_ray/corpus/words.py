"""The words of a text, for whoever compares texts by them, and the English words that say nothing of their own."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

WORD = re.compile(r"\w+")
JOINED = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
IDEOGRAPHS = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")

ARTICLES = frozenset(("a", "an", "the"))
FUNCTION_WORDS = ARTICLES | frozenset(
    """
    i me my mine myself we us our ours you your yours he him his himself she her hers herself it its itself they
    them their theirs themselves this that these those who whom whose which what when where why how
    am is are was were be been being has have had having do does did doing will would shall should can could may
    might must and or but nor so yet if then than as because although though while whereas since until unless
    of in on at by for from to into onto with within without about above below over under between among through
    during before after against along across around near upon off out up down there here also too very just only
    both either each some any such same other another own again once ever even still however therefore thus
    according hence meanwhile
    """.split()
)
"""Negations are not among them."""
NAMING = frozenset("name called known".split())
"""How questions speak of names; answers leave these words out."""


def words(text: str) -> list[str]:
    """The words of a text, in order: compatibility forms folded, without case, accents or punctuation."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    return WORD.findall("".join(c for c in folded if not unicodedata.combining(c)))


def telling(text: str) -> list[str]:
    """The words of a text that are no function words, in order."""
    return [word for word in words(text) if word not in FUNCTION_WORDS]


def content(text: str) -> set[str]:
    """The words that a question or an answer says something with; all of them when none does."""
    found = set(words(text))
    return found - FUNCTION_WORDS - NAMING or found


def terms(text: str) -> Iterator[str]:
    """Lower-case words of two letters or more, their hyphens and apostrophes kept; of Chinese and Japanese, which put
    no spaces, pairs of signs."""
    for match in JOINED.finditer(text.lower()):
        word = match.group()
        if IDEOGRAPHS.search(word):
            for run in IDEOGRAPHS.findall(word):
                yield from (run[i : i + 2] for i in range(max(1, len(run) - 1)))
        elif len(word) > 1:
            yield word
