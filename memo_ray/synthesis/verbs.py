"""English words in their forms: stems for comparing texts, and the verb of a statement for asking about it.

Small tables and endings, no dictionary: enough to see that `built` and `build` are one word and that a question
about "Rolf Anstick built the wall" needs `did`. Words and sentences in; stems, forms, verbs out.
"""

from __future__ import annotations

import re

_PAST_FORMS = (
    "become became, begin began, blow blew, break broke, bring brought, build built, burst burst, buy bought, cast cast, "
    "catch caught, choose chose, come came, cost cost, cut cut, deal dealt, dig dug, draw drew, drink drank, drive drove, "
    "eat ate, fall fell, feed fed, feel felt, fight fought, find found, flee fled, fly flew, forbid forbade, forget forgot, "
    "freeze froze, get got, give gave, go went, grind ground, grow grew, hang hung, hear heard, hide hid, hit hit, "
    "hold held, hurt hurt, keep kept, know knew, lay laid, lead led, leave left, lend lent, let let, lie lay, light lit, "
    "lose lost, make made, mean meant, meet met, pay paid, put put, read read, ride rode, ring rang, rise rose, run ran, "
    "say said, see saw, seek sought, sell sold, send sent, set set, shine shone, shoot shot, shut shut, sing sang, "
    "sink sank, sit sat, sleep slept, speak spoke, spend spent, spread spread, stand stood, steal stole, stick stuck, "
    "strike struck, swear swore, swim swam, take took, teach taught, tell told, think thought, throw threw, "
    "understand understood, wear wore, weave wove, win won, write wrote"
)
BASE_OF = {past: base for base, past in (pair.split() for pair in _PAST_FORMS.split(", "))}
PAST_OF = {base: past for past, base in BASE_OF.items()}
_OTHER_FORMS = (
    "written write, drawn draw, given give, taken take, known know, broken break, worn wear, woven weave, spoken speak, "
    "chosen choose, sung sing, drunk drink, sunk sink, begun begin, swum swim, driven drive, grown grow, hidden hide, "
    "men man, women woman, children child, does do, did do, done do, goes go, gone go, has have, had have, "
    "is be, are be, was be, were be, been be"
)
STEM_OF = BASE_OF | dict(pair.split() for pair in _OTHER_FORMS.split(", "))
COPULAS = ("is", "are", "was", "were")
ENDINGS = ("ings", "ing", "edly", "ied", "ies", "ed", "es", "s", "e", "y")
_NO_VERB_BEFORE = frozenset("the a an of in on at by with from to for and or his her its their".split())


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
    if word.endswith("ied") or word.endswith("ies"):
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
    return {f"{word}d"} if word.endswith("e") else {f"{word}ed", f"{word[:-1]}ied" if word.endswith("y") else f"{word}ed"}


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
        if words[i - 1][0].isupper() and words[i - 1].lower() not in _NO_VERB_BEFORE and word.isalpha() and word.islower():
            return i
    return -1


def auxiliary(verb: str) -> str:
    """What a question about a statement with this verb is asked with; a copula asks for itself."""
    if verb in COPULAS:
        return verb
    if is_past(verb):
        return "did"
    return "does" if verb.endswith("s") else "do"
