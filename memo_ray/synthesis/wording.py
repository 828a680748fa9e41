"""How a question-answer pair may be worded: rules for self-containment, form, and identifiers that leak.

Pure functions over strings; each says what is wrong in a short sentence, or nothing. Step 3 of the paper asks
the generator; these rules find the same kinds of violation where the generator is too small to judge.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from memo_ray.synthesis.cast import NOBODY, Cast, bare
from memo_ray.synthesis.grounding import content_words, numbers
from memo_ray.synthesis.lexicon import FUNCTION_WORDS, GENERAL, OPENERS, WORKS
from memo_ray.synthesis.verbs import stem

VIOLATIONS: dict[str, str] = {
    "unresolved_pronoun": "a pronoun (he, she, it, they, this, ...) whose noun is not in the pair",
    "implicit_reference": "points at the text itself (the passage, the table above, as mentioned, the author says)",
    "missing_subject": "does not say whom or what it is about",
    "vague_time": "a time that only the text can tell (then, at that time, the next day)",
    "vague_place": "a place that only the text can tell (here, there, nearby)",
    "unnamed_entity": "a general noun for a particular person or thing (the man, the company) without its name",
}
"""Kinds of violation of self-containment (paper, Step 3): name, and what it means in words a model understands."""

UNNAMING = FUNCTION_WORDS | OPENERS
PRONOUN = re.compile(r"\b(he|she|it|they|him|them|his|hers|its|their|theirs|her|this|these|those)\b", re.IGNORECASE)
POINTING = re.compile(r"\b(?:by|as|in|of) th(?:is|ese|ose) [a-z]", re.IGNORECASE)
REFERENCE = re.compile(
    r"\b(the|this|that|above|following|given) (text|passage|document|article|chapter|excerpt|paragraph|sentence|table|"
    r"figure|section|context|fact|statement)\b(?! of \w)|\b(mentioned|aforementioned|as (noted|stated|described|shown)|"
    r"according to the (author|writer|narrator))\b",
    re.IGNORECASE,
)
VAGUE_TIME = re.compile(
    r"\b(at (that|this|the) time|back then|the (next|same|following) (day|year|night)|nowadays)\b", re.I
)
VAGUE_PLACE = re.compile(
    r"\b(here|nearby|over there)\b|(?<!is )(?<!are )(?<!was )(?<!were )\bthere\b(?! (is|are|was|were)\b)", re.IGNORECASE
)
_GENERAL = "|".join(sorted(GENERAL))
UNNAMED = re.compile(
    rf"\b(?:the|this) (?:TV |television |[a-z]+ )?(?:{_GENERAL}|man|woman)"
    r"(?=\s*[?,;.]|\s+(?:and|or|is|was|are|were|did|does|has|had|to|as|with|about)\b)"
)
"""A general noun for one thing that nothing after it tells apart from others."""
ANY_WORK = re.compile(
    rf"\b(?:name|title) of (?:a|an|the) (?:{'|'.join(sorted(WORKS))}|story|politician|actor|actress|artist|singer|"
    r"township|village|town|island|cave) "
)
BARE = re.compile(r"^(?:Who|What) (?:is|was|are|were) (?:the )?((?:[A-Z][\w.'’-]*[ ,]*)+)\?$")
ITS_NAME = re.compile(r"^What (?:is|was) the name of (?:[A-Z][\w'’-]*[ ]?)+\?$")
"""Asks for a name that it gives."""
TAG = re.compile(
    r"^\s*[\[<{(]|\b(document|doc|chunk|source|file|title)\s*(id|no\.?|number|#|:)|\.(txt|md|pdf|html|jsonl|parquet|docx)\b"
    r"|\b[0-9a-f]{16,}\b",
    re.IGNORECASE,
)


def violations(question: str, answer: str) -> list[str]:
    """Kinds of VIOLATIONS that rules find in a pair, in the order of that table."""
    found = []
    told = bare(question)
    pronoun = PRONOUN.search(told)
    if (
        (pronoun and not _name_before(told[: pronoun.start()], titled=told != question))
        or PRONOUN.fullmatch(answer.strip(" ."))
        or POINTING.search(answer)
    ):
        found.append("unresolved_pronoun")
    if REFERENCE.search(question) or REFERENCE.search(answer):
        found.append("implicit_reference")
    if len(content_words(question)) < 2:
        found.append("missing_subject")
    elif UNNAMED.search(question) or not (proper(question) | numbers(question)):
        found.append("unnamed_entity")
    if VAGUE_TIME.search(question):
        found.append("vague_time")
    if VAGUE_PLACE.search(question):
        found.append("vague_place")
    return found


def _name_before(said: str, titled: bool) -> bool:
    """Whether what a pronoun stands for was `said` before it: a name, or after a story's title one of its roles."""
    words = re.findall(r"\w+", said)[1:]
    named = any(word[0].isupper() and word.lower() not in FUNCTION_WORDS for word in words)
    return named or (titled and bool(re.search(r"\bthe \w", said)))


def malformed(question: str, answer: str, source: str, cast: Cast = NOBODY) -> str:
    """Why a question is badly made for its answer and source; empty when it is not.

    It must open with a question word and end with its only question mark, must not hold its answer, must not
    repeat itself within one of its halves, and must name something: a name or number of the source, where the
    source has one to spare. Of a work with a title, somebody whom it knows by a role will do, or a place in it.
    """
    words = re.findall(r"[\w'’-]+", question)
    if not words or words[0].lower() not in OPENERS:
        return "the question does not open with a question word"
    if not question.endswith("?") or question.count("?") != 1 or "_" in question:
        return "the question does not end with its only question mark"
    said = content_words(answer)
    if said and set(said) <= set(content_words(question)):
        return "the question holds its own answer"
    if any(repeats(part.split()) for part in question.rstrip("?").split(", and ")):
        return "the question repeats itself"
    spare = (proper(source) | numbers(source)) - set(said) - numbers(answer)
    if spare and not spare & (proper(question) | numbers(question)):
        if not cast.roles_in(question) and not cast.points_at(question):
            return "the question names nothing of its source"
        if not cast.title:
            return "the question names nobody but by a role, and the work has no title"
    return ""


def hollow(question: str, answer: str) -> str:
    """Why nothing certain is asked; empty when something is. For questions of free wording, in English.

    A bare name asks for no fact, one name alone does not tell a work from its maker's others, and what is asked with
    When or Where is a time or a place.
    """
    if BARE.match(question) or ITS_NAME.match(question):
        return "the question asks for nothing in particular"
    if ANY_WORK.search(question) and len(NAME.findall(question[1:])) < 2 and not numbers(question):
        return "the question fits others too"
    if re.match(r"When (?:did|was) ", question) and not numbers(answer) and not proper(answer):
        return "the answer holds no time"
    if re.match(r"When (?:did|was) ", question) and RANGE.search(answer):
        return "the answer is a span of time"
    if question.startswith("Where ") and PRONOUN.match(answer):
        return "the answer holds no place"
    return ""


NAME = re.compile(r"\b[A-Z][\w.'’-]*(?: (?:(?:of|the|and|&|de|von) )*[A-Z][\w.'’-]*)*")
RANGE = re.compile(r"\d\s*(?:--?|–)\s*\d")


def proper(text: str) -> set[str]:
    """Stems of the capitalised words of `text` that no function word explains; openers of questions left out."""
    found = re.findall(r"\b[A-Z][\w'’-]*", text)
    return {stem(word) for word in found if word.lower() not in UNNAMING}


def foreign_names(question: str, sources: Iterable[str]) -> list[str]:
    """Names of `question` that its sources do not have: what a small generator takes from a prompt's example."""
    known = {word for source in sources for word in content_words(source)}
    return sorted(proper(question) - known)


def repeats(words: list[str]) -> bool:
    """Whether three words in a row, or a content word three times, come again."""
    lower = [word.lower() for word in words]
    triples = list(zip(lower, lower[1:], lower[2:], strict=False))
    content = [word for word in lower if word not in FUNCTION_WORDS]
    return len(set(triples)) < len(triples) or any(content.count(word) > 2 for word in set(content))


def leaked_identifier(text: str, identifiers: Iterable[str], source: str) -> str:
    """A document id, file name or tag in `text` that is not the source's own wording; empty when there is none.

    A plain word is no identifier: documents may be called `storm`, and storms may be asked about.
    """
    tag = TAG.search(text)
    if tag and tag.group() not in source:
        return tag.group().strip()
    low, told = text.lower(), source.lower()
    for identifier in identifiers:
        name = identifier.lower()
        if re.search(r"[\d_\-/.\\]", name) and len(name) > 2 and name in low and name not in told:
            return identifier
    return ""


def foreign_script(text: str, scripts: tuple[str, ...], source: str) -> str:
    """Why `text` is not in the wanted writing systems: a letter of another one that its source does not hold.

    `scripts` are the first words of Unicode's names for their letters; none wanted: any is right.
    """
    if not scripts:
        return ""
    for sign in text:
        if sign.isalpha() and sign not in source:
            script = unicodedata.name(sign, "UNNAMED").split()[0].partition("-")[0]
            if script not in scripts:
                return f"{sign} is a {script} letter"
    return ""


def question_key(question: str) -> tuple[str, ...]:
    """What two questions have in common that say the same with the same words: opening and content words, sorted."""
    opening = " ".join(re.findall(r"\w+", question.lower())[:2])
    return (opening, *sorted(content_words(question)))
