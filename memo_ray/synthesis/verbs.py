"""English words in their forms: stems for comparing texts, and the verb of a statement for asking about it.

Small tables and endings, no dictionary: enough to see that `built` and `build` are one word and that a question
about "Rolf Anstick built the wall" needs `did`. Words and sentences in; stems, forms, verbs out.
"""

from __future__ import annotations

import re
from functools import lru_cache

from memo_ray.synthesis.lexicon import BASE_OF, COPULAS, PAST_OF, STEM_OF

ENDINGS = ("ings", "ing", "edly", "ied", "ies", "ed", "es", "s", "e", "y")
_NO_VERB_BEFORE = frozenset("the a an of in on at by with from to for and or his her its their".split())


@lru_cache(1 << 16)
def stem(word: str) -> str:
    """A crude stem: lower case, irregular forms to their base, common endings cut."""
    word = word.lower().replace("’", "'").removesuffix("'s").removesuffix("'")
    word = STEM_OF.get(word, word)
    for ending in ENDINGS:
        if len(word) - len(ending) >= 3 and word.endswith(ending) and not word.endswith("ss"):
            word = word.removesuffix(ending)
            break
    return word[:-1] if len(word) > 4 and word[-1] == word[-2] else word


def base_forms(word: str) -> set[str]:
    """What the infinitive of an inflected verb may be; several guesses for a regular one (`raised`: rais, raise)."""
    if word in BASE_OF:
        return {BASE_OF[word]}
    guesses: set[str] = set()
    if word.endswith(("ied", "ies")):
        guesses = {f"{word[:-3]}y"}
    elif word.endswith("ed"):
        guesses = {word[:-2], word[:-1]}
        if len(word) > 5 and word[-3] == word[-4]:
            guesses.add(word[:-3])
    elif word.endswith("es"):
        guesses = {word[:-2], word[:-1]}
    elif word.endswith("s"):
        guesses = {word[:-1]}
    return guesses


def past_forms(word: str) -> set[str]:
    """What the past of an infinitive may be."""
    if word in PAST_OF:
        return {PAST_OF[word]}
    return (
        {f"{word}d"} if word.endswith("e") else {f"{word}ed", f"{word[:-1]}ied" if word.endswith("y") else f"{word}ed"}
    )


def is_past(word: str) -> bool:
    """Whether a lower-case word looks like the past of a verb."""
    return word in BASE_OF or (len(word) > 3 and word.endswith("ed") and not word.endswith("eed"))


def main_verb(words: list[str]) -> int:
    """Index of the verb of a statement that starts with its subject, or -1.

    The first copula or past form that no article or preposition precedes; failing that, the lower-case word
    after the first name or plural.
    """
    for i, word in enumerate(words[1:], 1):
        low = words[i - 1].lower()
        if low not in _NO_VERB_BEFORE and (word in COPULAS or is_past(word)):
            return i
    for i, word in enumerate(words[1:], 1):
        before = words[i - 1]
        named = before[0].isupper() and before.lower() not in _NO_VERB_BEFORE
        if named and re.fullmatch(r"[a-z]+s", word) and not word.endswith("ss"):
            return i
    for i, word in enumerate(words[1:], 1):
        if (
            words[i - 1][0].isupper()
            and words[i - 1].lower() not in _NO_VERB_BEFORE
            and word.isalpha()
            and word.islower()
        ):
            return i
    return -1


def auxiliary(verb: str) -> str:
    """What a question about a statement with this verb is asked with; a copula asks for itself."""
    if verb in COPULAS:
        return verb
    if is_past(verb):
        return "did"
    return "does" if verb.endswith("s") else "do"
