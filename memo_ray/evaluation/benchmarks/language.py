"""Is a text English? The paper filters with LangDetect; py3langid decides the same with a model in its package."""

from __future__ import annotations

import re

SHOWN = 20_000
"""Characters of a text that are looked at."""
FEW = 3
"""With fewer words than this only the script decides: a name alone is of any language."""
LATIN_SHARE = 0.8
"""Letters of an English text that are Latin, at least."""

WORD = re.compile(r"[^\W\d_]+")
LATIN = re.compile(r"[A-Za-z\u00c0-\u024f]")


def is_english(text: str) -> bool:
    """Whether a text is in English; of fewer than FEW words, whether its letters are Latin. Nothing is not English."""
    import py3langid

    shown = text[:SHOWN]
    letters = [character for character in shown if character.isalpha()]
    if not letters or sum(bool(LATIN.match(letter)) for letter in letters) < LATIN_SHARE * len(letters):
        return False
    return len(WORD.findall(shown)) < FEW or py3langid.classify(shown)[0] == "en"
