"""Which question word asks for which span of a statement: rules for English, one a kind of span.

A statement and one of its spans go in; `Ask` rows come out: the answer, the statement without it, and how a
question for it opens. `cloze.py` uses them; nothing here knows models or prompts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from memo_ray.synthesis.lexicon import (
    ADJECTIVE,
    COPULAS,
    CROWD,
    KIN,
    MANNER,
    MEASURES,
    NO_OBJECT,
    PEOPLE,
    PLACES,
    PREPOSITIONS,
    THINGS,
    TITLES,
    WHEN,
    WHERE,
)
from memo_ray.synthesis.spans import Span, Token, tokens
from memo_ray.synthesis.verbs import is_past, main_verb

GAP = "____"
OF_NAME = re.compile(r" of (?:the |an? )?(?:[a-z-]+ ){0,3}?[A-Z]\w+(?:(?: of)? [A-Z]\w+)*(?: [a-z]+(?=\.$))?")


@dataclass(frozen=True, slots=True)
class Ask:
    """`text` is the statement without `answer`; `helped`: an auxiliary verb follows the opening."""

    answer: str
    text: str
    opening: str
    helped: bool = True


def asked_for(statement: str, span: Span) -> Iterator[Ask]:
    """How to ask for `span`; nothing where the rules see no clear question."""
    return RULES[span.kind](statement, span)


def after_verb(statement: str) -> Iterator[Ask]:
    """What follows the verb: the object up to the next preposition, or what a copula says its subject to be."""
    words = tokens(statement)
    at = main_verb([word.text for word in words])
    if at < 0 or at + 1 >= len(words):
        return
    copula = words[at].text in COPULAS
    subject = statement[: words[at].start].strip()
    person = re.search(r"[A-Z]\w+ ([A-Z]\w+)$", subject)
    if copula and (words[at + 1].text not in {"the", "a", "an"} or (person and person.group(1).lower() not in THINGS)):
        return
    end = at + 1
    while end < len(words) and words[end].text.lower() not in (
        NO_OBJECT - {"of", "for", "in", "that"} if copula else NO_OBJECT
    ):
        new_clause = words[end].text == "and" and end + 1 < len(words) and words[end + 1].text[0].isupper()
        if words[end].text in ".;:" or new_clause:
            break
        end += 1
    chosen = words[at + 1 : end]
    article = bool(chosen) and chosen[0].text in {"the", "a", "an"}
    rest = chosen[1:] if article else chosen
    named = rest and rest[-1].text[0].isupper() and all(word.text != "of" for word in rest)
    if rest and not named and (article or rest[0].is_content) and len(rest) <= 12:
        yield Ask(statement[rest[0].start : rest[-1].end], _cut(statement, chosen[0].start, rest[-1].end, GAP), "What")


def _cut(statement: str, start: int, end: int, gap: str = "") -> str:
    return f"{statement[:start]}{gap}{statement[end:]}"


def _before(statement: str, span: Span) -> list[Token]:
    return [token for token in tokens(statement) if token.end <= span.start]


def _date(statement: str, span: Span) -> Iterator[Ask]:
    before = _before(statement, span)
    preposition = before[-1].text.lower() if before else ""
    if preposition in WHEN and (span.text.isdigit() or preposition != "from"):
        yield Ask(span.text, _cut(statement, before[-1].start, span.end), WHEN[preposition])


def _number(statement: str, span: Span) -> Iterator[Ask]:
    before = _before(statement, span)
    previous = before[-1].text.lower() if before else ""
    unit = " ".join(word for word in span.text.split() if not Token(word, 0, 0).is_number)
    head = unit.split()[-1] if unit else ""
    if head in MEASURES:
        yield Ask(span.text, _cut(statement, span.start, span.end, GAP), f"How {head}")
    elif not unit or previous in {"of", "every"}:
        return
    elif not before:
        yield Ask(span.text, _cut(statement, span.start, span.end, f"{GAP} {unit}"), f"How many {unit}", helped=False)
    elif previous in {"with", "in", "for", "from", "on", "by"}:
        yield Ask(span.text, _cut(statement, before[-1].start, span.end), f"{previous.capitalize()} how many {unit}")
    else:
        yield Ask(span.text, _cut(statement, span.start, span.end, GAP), f"How many {unit}")


def _name(statement: str, span: Span) -> Iterator[Ask]:
    before = _before(statement, span)
    phrase = noun_phrase(before, span)
    ahead = [token for token in before if token.end <= phrase.start]
    previous = ahead[-1] if ahead else None
    following = next((token for token in tokens(statement) if token.start >= span.end), None)
    if following is not None and following.text == "and" and previous is None:
        return
    if previous is None:
        text = _cut(statement, phrase.start, span.end, GAP)
        for opening in subject_openings(statement, span, phrase):
            yield Ask(span.text, text, opening, helped=False)
    elif phrase.kin:
        yield Ask(span.text, statement[: previous.start], f"Whose {phrase.kin}")
    elif following is not None and following.is_content and not is_past(following.text):
        return  # "the Cask Lane yard": the name only describes what follows.
    elif previous.text.lower() in PREPOSITIONS:
        text = _cut(statement, previous.start, span.end)
        for opening in _after_preposition(previous.text.lower(), phrase, span):
            yield Ask(span.text, text, opening)
    elif previous.is_content:
        opening = (
            f"Which {phrase.noun}" if phrase.noun else "Whom" if _is_person(span) and not phrase.article else "What"
        )
        yield Ask(span.text, _cut(statement, phrase.start, span.end, GAP), opening)


def subject_openings(statement: str, span: Span, phrase: NamePhrase) -> list[str]:
    """Question words for the subject of a statement: by its class noun, its article, or its last word."""
    last = span.text.split()[-1].lower()
    if phrase.noun:
        return ["Who", f"Which {phrase.noun}"] if phrase.noun in PEOPLE else [f"Which {phrase.noun}"]
    if last in THINGS:
        return [f"Which {last}"]
    return ["Who"] if _is_person(span) and not phrase.article else ["What"]


def _is_person(span: Span) -> bool:
    words = span.text.lower().split()
    return words[0] in TITLES or (len(words) in (2, 3) and "of" not in words and words[-1] not in THINGS)


def _after_preposition(preposition: str, phrase: NamePhrase, span: Span) -> list[str]:
    if phrase.noun:
        openings = [f"{preposition.capitalize()} which {phrase.noun}"]
        return openings + ["Where"] * (preposition in WHERE and phrase.noun in THINGS)
    if preposition in WHERE:
        return ["Where"]
    if preposition == "from":
        return ["From whom" if span.text.split()[0].lower() in TITLES else "From where"]
    if preposition == "to" and span.text.split()[-1].lower() not in THINGS:
        return []
    return [f"{preposition.capitalize()} {'whom' if _is_person(span) and not phrase.article else 'what'}"]


@dataclass(frozen=True, slots=True)
class NamePhrase:
    """The phrase around a name: `the lighthouse keeper Freya Gorl` starts at `the`, has the class noun `keeper` and
    the description `lighthouse keeper`; `kin` is the kinship noun of `was the aunt of NAME`."""

    start: int
    article: bool = False
    noun: str = ""
    description: str = ""
    kin: str = ""


def noun_phrase(before: list[Token], span: Span) -> NamePhrase:
    """The phrase around the name `span`, given the tokens before it."""
    left = list(before)
    if len(left) > 1 and left[-1].text == "of" and left[-2].text.lower() in PLACES:
        left.pop()
    nouns: list[Token] = []
    while left and left[-1].is_content:
        nouns.insert(0, left.pop())
    start, article = span.start, bool(left) and left[-1].text.lower() in {"the", "a", "an"}
    if article:
        start = left.pop().start
        while nouns and ADJECTIVE.match(nouns[0].text):
            nouns.pop(0)
    else:
        left, nouns = left + nouns, []
    noun = nouns[-1].text if nouns and not ADJECTIVE.match(nouns[-1].text) else ""
    related = re.search(
        r"\b(?:was|is) (?:a|an|the) ((?:[a-z-]+ )?([a-z-]+)) of$", " ".join(token.text for token in left)
    )
    kin = related.group(1) if related and related.group(2) in KIN else ""
    return NamePhrase(start, article, noun, " ".join(token.text for token in nouns) if noun else "", kin)


def _thing(statement: str, span: Span) -> Iterator[Ask]:
    before = _before(statement, span)
    start, end, answer = span.start, span.end, span.text
    if before and before[-1].text.lower() in {"the", "a", "an"}:
        start = before.pop().start
    if not before and re.match(r" (?:the|an?|[A-Z]\w+)\b", statement[end:]) and " " in answer:
        # "A great storm broke the wall": a subject that an object follows has swallowed the verb.
        answer = answer.rsplit(" ", 1)[0]
        end = span.start + len(answer)
    head = answer.split()[-1]
    complement = OF_NAME.match(statement, end)
    if complement:
        end = complement.end()
        answer = statement[span.start : end]
    following = next((token.text for token in tokens(statement) if token.start >= end), "")
    previous = before[-1].text.lower() if before else ""
    if head in MANNER or head in PLACES or following in {"and", ","} or len(answer.split()) > 8:
        return
    if not before:
        if following not in NO_OBJECT | {"of"}:
            yield Ask(answer, _cut(statement, start, end, GAP), "Who" if head in CROWD else "What", helped=False)
    elif previous in PREPOSITIONS - {"by", "to"} and (previous != "in" or head in THINGS):
        opening = "Where" if previous in WHERE and previous != "on" else f"{previous.capitalize()} what"
        yield Ask(answer, _cut(statement, before[-1].start, end), opening)


RULES = {"date": _date, "number": _number, "name": _name, "thing": _thing}
