"""Which language a text is in, by py3langid's model of 140 languages: for pairs, and for benchmarks that ask for it.

The paper filters BrowseComp-Plus by LangDetect; this model comes with its package, decides the same way every time and
says how sure it is. It starts with its first text, in about a second, and then takes a tenth of a millisecond a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from memo_ray.errors import ConfigError

SHOWN = 20_000
"""Characters of a text that are looked at."""
CONFIDENCE = 0.4
"""From this probability on a language counts as recognised; two or three names alone stay below it."""
TAKEN_FOR = {"pcm": "en"}
"""Nigerian Pidgin is written so like English that the model takes English sentences full of names for it."""
NONE = "zxx"
"""ISO 639's code for a text that is in no language."""


def other_language(text: str, wanted: Sequence[str], confidence: float = CONFIDENCE) -> str:
    """The ISO 639-1 code of the language that `text` is in, when it is none of `wanted`; else empty.

    Empty too when the likeliest language has less than `confidence` (0..1), as a name alone has. `zxx`: the text has
    not one letter.
    """
    shown = text[:SHOWN]
    if not any(sign.isalpha() for sign in shown):
        return NONE
    language, share = identifier().classify(shown)
    language = TAKEN_FOR.get(language, language)
    return str(language) if language not in wanted and share >= confidence else ""


def check_languages(wanted: Sequence[str], key: str) -> None:
    """Raise ConfigError, naming `key`, for a code that the model does not know."""
    unknown = sorted(set(wanted) - set(identifier().labels)) if wanted else []
    if unknown:
        raise ConfigError(f"{key}: {unknown[0]} is no language that can be recognised; write codes such as en, de, zh")


@cache
def identifier() -> Any:
    """The model, once a process. Its probabilities are scaled by the text's length, so that they can be compared."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
