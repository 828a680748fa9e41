"""Answer-conditioned question generation: which spans of a sentence can be answers, and what to ask with.

A tiny generator writes a far better question when the answer is chosen for it and taken out of the sentence, the
question's first words are fixed, and only the statement's own words may follow. A sentence goes in, `Cloze` rows
come out, and the generator writes the questions (`prompts: sentence`, `answers: spans`). English only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import SequenceMatcher

from memo_ray.synthesis.grounding import content_words
from memo_ray.synthesis.lexicon import COPULAS, FUNCTION_WORDS, PEOPLE
from memo_ray.synthesis.rules import GAP, Ask, after_verb, asked_for, noun_phrase
from memo_ray.synthesis.spans import answer_spans, tokens
from memo_ray.synthesis.verbs import auxiliary, base_forms, is_past, main_verb, stem

SECOND_VERB = re.compile(
    r",? and (?=(?:[a-z]+(?:ed|es|s)|led|kept|sank|held|built|ran|won|wrote|made|took|gave|lost|sold) [a-zA-Z])"
)
APPOSITION = re.compile(r"^([^,]{1,60}), (?:an?|the|who|which) [^,]+,(?= )")
SIDE_CLAUSE = re.compile(
    r"(?:, (?:and (?:[A-Z]|the )|from |who |which )| because | when | while | although | so that ).*(?=\.$)"
)
IN_YEAR = re.compile(r",? (?:in|since|until) (?:[A-Z][a-z]+ )?(?:1\d{3}|20\d\d)\b")
JOINING = ("and", "that", "who", "which", "the")
"""What a question may need to put several statements together."""


@dataclass(frozen=True, slots=True)
class Cloze:
    """An answer, the statement without it, the question's first words, and the words that may follow them."""

    answer: str
    text: str
    opening: str
    words: tuple[str, ...]


def clozes(sentence: str) -> list[Cloze]:
    """Every answer that the rules find in `sentence`, each with one or two ways to ask for it.

    A sentence with two verbs of one subject is taken apart first, so that one question asks for one fact.
    """
    found: dict[tuple[str, str], Cloze] = {}
    for clause in clauses(sentence):
        asks = [ask for span in answer_spans(clause) for ask in asked_for(clause, span)]
        for ask in [*asks, *after_verb(clause)]:
            text = shortened(tidy(ask.text))
            if len(text.split()) >= 4:
                found.setdefault((text, ask.opening), make_cloze(ask, text))
    return list(found.values())


def make_cloze(ask: Ask, text: str) -> Cloze:
    """The cloze of `ask` with `text` as its statement: its auxiliary, if it needs one, and its vocabulary."""
    words = [token.text for token in tokens(text) if token.text[0].isalnum()]
    spelled = [word.lower() if word.lower() in FUNCTION_WORDS else word for word in words]
    if not ask.helped:
        return Cloze(ask.answer, text, ask.opening, tuple(dict.fromkeys(spelled)))
    at = main_verb(words)
    verb = words[at] if at >= 0 else ""
    helper = auxiliary(verb) if verb else "did"
    spelled = [word for word in spelled if word != verb]
    if helper not in COPULAS:
        spelled += sorted(base_forms(verb)) or [verb]
    return Cloze(ask.answer, text, f"{ask.opening} {helper}", tuple(dict.fromkeys(spelled)))


def vocabulary(words: Iterable[str]) -> tuple[str, ...]:
    """`words` and what joins statements, each once."""
    return tuple(dict.fromkeys((*words, *JOINING)))


def unfaithful(question: str, text: str, least: float) -> str:
    """Why a question is not its statements turned round: words gone, or all in another order.

    Only what describes a name (`the mason Rolf Anstick`) may be left out. `least`: similarity, from 0 to 1, of the
    two sequences of content words. Empty when the question is faithful.
    """
    said = set(content_words(question))
    missing = [
        word for word in content_words(text.replace(GAP, "")) if word not in said and word not in MAY_BE_LEFT_OUT
    ]
    if missing:
        return f"the question leaves out {', '.join(missing)} of its statement"
    likeness = SequenceMatcher(None, content_words(text.replace(GAP, "")), content_words(question)).ratio()
    if likeness < least:
        return f"the question has {likeness:.0%} of its statement's words in their order, {least:.0%} are asked"
    return ""


MAY_BE_LEFT_OUT = {stem(word) for word in PEOPLE}


def tidy(text: str) -> str:
    """One space between words, none before punctuation, a full stop at the end."""
    text = re.sub(r"\s+([,.;:])", r"\1", re.sub(r"\s+", " ", text)).strip(" ,;")
    text = re.sub(r",+([.,])", r"\1", text)
    return text if text.endswith((".", "!", "?")) else f"{text}."


def clauses(sentence: str) -> list[str]:
    """`sentence`, or its two halves with the subject repeated when one subject has two verbs."""
    second = SECOND_VERB.search(sentence)
    subject = next((span for span in answer_spans(sentence) if span.kind == "name"), None)
    if not second or subject is None or len(sentence[: subject.start].split()) > 4 or subject.end > second.start():
        return [sentence]
    first = sentence[: second.start()]
    copula = re.search(r"\b(?:is|are)\b", first)
    helper = f"{copula.group()} " if copula and is_past(sentence[second.end() :].split()[0]) else ""
    return [tidy(first), tidy(f"{sentence[: subject.end]} {helper}{sentence[second.end() :]}")]


def shortened(text: str) -> str:
    """`text` without its appositions, side clauses and year, as far as the gap and enough words stay."""
    short = APPOSITION.sub(r"\1", text)
    for pattern in (SIDE_CLAUSE, IN_YEAR):
        rest = pattern.sub("", short)
        if (GAP in rest) == (GAP in text) and len(rest.split()) >= (5 if rest.startswith(GAP) else 6):
            short = rest
    return short


@dataclass(frozen=True, slots=True)
class Description:
    """What a sentence calls a name in passing (`the lighthouse keeper Freya Gorl`), and the rest of the sentence."""

    name: str
    description: str
    person: bool
    rest: str
    words: tuple[str, ...]


def descriptions(sentence: str) -> list[Description]:
    """Every name at the start of `sentence` that a class noun describes, with the statement about it.

    Only subjects: their statement can follow the name as `NAME, who ...` without being turned round.
    """
    found = []
    for clause in clauses(sentence)[:1]:
        for span in answer_spans(clause):
            phrase = noun_phrase([token for token in tokens(clause) if token.end <= span.start], span)
            if span.kind != "name" or phrase.start > 0 or not phrase.noun:
                continue
            rest = tidy(shortened(tidy(clause[span.end :]))) if span.end < len(clause) else ""
            said = [token.text for token in tokens(rest) if token.text[0].isalnum()]
            if len(said) >= 3 and said[0] != "and":
                person = phrase.noun in PEOPLE
                found.append(Description(span.text, phrase.description, person, rest, vocabulary(said)))
    return found
