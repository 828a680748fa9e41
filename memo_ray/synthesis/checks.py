"""Which pairs are lost after a step: checks on one pair, duplicates among many, and the round trip's prompts.

Pure functions: pairs in, the good ones and the lost ones out. Which checks run is the configuration's choice
(`grounding`); empty texts, identifiers and duplicates are always looked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from memo_ray.config.synthesis import Quality
from memo_ray.corpus.words import terms
from memo_ray.synthesis import schemas
from memo_ray.synthesis.asking import Prompt
from memo_ray.synthesis.cast import NOBODY, Cast, bare
from memo_ray.synthesis.cloze import clozes, unfaithful
from memo_ray.synthesis.connections import unconnected
from memo_ray.synthesis.consolidation import half_asked, told_by_one
from memo_ray.synthesis.entities import named_itself
from memo_ray.synthesis.grounding import agrees, content_words, foreign_words, swapped, tell_the_same, ungrounded
from memo_ray.synthesis.language import other_language
from memo_ray.synthesis.pairs import Lost, Pair, lost, plain
from memo_ray.synthesis.settings import Origin, StepSettings
from memo_ray.synthesis.spans import sentences
from memo_ray.synthesis.wording import (
    foreign_names,
    foreign_script,
    hollow,
    leaked_identifier,
    malformed,
    question_key,
    violations,
)

MERGED_ANSWER_WORDS = 150
"""Longest answer of a merged pair (the paper's authors' setting)."""
FREE_FOREIGN_WORDS = 2
"""Content words that a question may bring along under `strict_questions`, but for one that asks for a word of a single
sentence: that one needs none."""
UNJUDGED = frozenset({"entities", "connections", "paraphrase"})
"""Steps after the third, whose pairs only rules look at for self-containment."""
SENTENCE_WORDS = 8
"""From this length on an answer's language can be told without its question; a shorter one may be a foreign name."""
FAITHFUL = 0.75
"""Least likeness of a direct question to its statement, word by word in their order."""


def as_asked(pair: Pair, prompt: Prompt) -> Lost | None:
    """The pair as lost when it does not do what its prompt asked for, whatever the configuration; else None."""
    reason, detail = "malformed", ""
    if prompt.statement:
        detail = unfaithful(pair.question, prompt.statement, FAITHFUL if pair.step == "direct" else 0.0)
    elif pair.step == "entities":
        reason, detail = "names_entity", named_itself(pair, prompt.answer)
    elif prompt.answer:
        detail = half_asked(pair, prompt.items)
    elif pair.step == "consolidation" and len(pair.parents) < 2:
        reason, detail = "not_merged", "uses fewer than two of the pairs that it was to merge"
    elif pair.step == "consolidation":
        reason, detail = "not_merged", told_by_one(pair, prompt.items)
    if not detail and pair.step == "connections":
        reason, detail = (
            "not_connected",
            unconnected(pair) or ("" if prompt.answer else told_by_one(pair, prompt.items)),
        )
    return lost(pair, reason, detail) if detail else None


def sift(
    pairs: Iterable[Pair],
    settings: StepSettings,
    identifiers: tuple[str, ...],
    parents: Iterable[Pair] = (),
    cast: Cast = NOBODY,
) -> tuple[list[Pair], list[Lost]]:
    """`pairs` that pass every check on a single pair, and the others with the reason.

    `parents`: pairs that these were made from; their texts support an answer as the evidence does. `cast`: who acts in
    the document; a question that names nobody else gets the work's title.
    """
    known = {pair.reflection_id: pair for pair in parents}
    good, bad = [], []
    for pair in pairs:
        behind = [known[parent] for parent in pair.parents if parent in known]
        reason, detail = problem(pair, settings, identifiers, behind, cast)
        if reason:
            bad.append(lost(pair, reason, detail))
        else:
            good.append(replace(pair, question=cast.placed(pair.question)))
    return good, bad


def problem(
    pair: Pair, settings: StepSettings, identifiers: tuple[str, ...], parents: list[Pair], cast: Cast = NOBODY
) -> tuple[str, str]:
    """Reason and detail for which `pair` is lost; two empty texts when it is not."""
    grounding = settings.config.grounding
    behind = (text for p in parents for text in (f"{p.question} {p.answer}", p.evidence))
    sources = list(dict.fromkeys((pair.evidence, *behind)))
    direct = pair.step == "direct"
    if not plain(pair.question) or not plain(pair.answer):
        return "empty", "question or answer has no word"
    if len(pair.question) >= schemas.QUESTION_CHARACTERS or len(pair.answer) >= schemas.ANSWER_CHARACTERS:
        return "too_long", "the question or the answer was ended at its greatest length"
    for text in (pair.question, pair.answer):
        leaked = leaked_identifier(text, identifiers, " ".join(sources))
        if leaked:
            return "identifier", f"holds {leaked}"
    quality = settings.config.quality
    detail = foreign_script(f"{pair.question} {pair.answer}", quality.scripts, " ".join(sources))
    if detail:
        return "script", detail
    detail = strange_language(pair, quality, sources) if quality.languages else ""
    if detail:
        return "language", detail
    if quality.self_contained_rules and pair.step in UNJUDGED:
        found = violations(pair.question, pair.answer)
        if found:
            return "not_self_contained", f"by rule: {', '.join(found)}"
    if pair.step == "consolidation" and len(pair.answer.split()) > MERGED_ANSWER_WORDS:
        return "too_long", f"the answer has {len(pair.answer.split())} words, {MERGED_ANSWER_WORDS} are allowed"
    if grounding.strict_questions:
        asked = pair.question if cast == NOBODY else bare(pair.question)
        detail = malformed(asked, pair.answer, pair.evidence, cast) or hollow(asked, pair.answer)
        detail = detail or cast.acts_alone(asked) or cast.title_acts(asked, pair.evidence)
        if detail:
            return "malformed", detail
        foreign = foreign_words(pair.question, sources)
        if len(foreign) > (0 if direct and settings.config.prompts == "sentence" else FREE_FOREIGN_WORDS):
            return "ungrounded", f"the question brings along: {', '.join(foreign)}"
        turned = swapped(pair.question, sources)
        if turned:
            return "ungrounded", f"the question says {turned}, its source does not"
    if grounding.lexical:
        invented = foreign_names(pair.question, sources)
        if invented:
            return "ungrounded", f"its source does not name {', '.join(invented)}"
        detail = ungrounded(pair.answer, sources, grounding.direct_share if direct else grounding.derived_share)
        if detail:
            return "ungrounded", detail
    return "", ""


def strange_language(pair: Pair, quality: Quality, sources: Iterable[str]) -> str:
    """Which unwanted language the question is in, or an answer that is a sentence of its own; else empty."""
    texts = [pair.question]
    # Chinese and Japanese put no spaces between words; `terms` does.
    length = max(len(pair.answer.split()), len(list(terms(pair.answer))))
    if length >= SENTENCE_WORDS and not any(pair.answer in source for source in sources):
        texts.append(pair.answer)
    found = (other_language(text, quality.languages, quality.language_confidence) for text in texts)
    return next((f"is in {language}" for language in found if language), "")


def distinct(pairs: Iterable[Pair], before: Iterable[Pair] = ()) -> tuple[list[Pair], list[Lost]]:
    """`pairs` without those that ask what an earlier one (or one of `before`) asks for the same answer.

    The same: equal openings and equal content words, whatever their order.
    """
    seen = {meaning(pair): pair.question for pair in before}
    good, bad = [], []
    for pair in pairs:
        key = meaning(pair)
        if key in seen:
            bad.append(lost(pair, "duplicate", f"asks what another pair asks: {seen[key]}"))
        else:
            seen[key] = pair.question
            good.append(pair)
    return good, bad


def meaning(pair: Pair) -> bytes:
    """A hash that is the same for pairs of the same answer and, by their words, the same question: of millions, the
    words themselves would take more memory than the pairs."""
    said = "\x1f".join((plain(pair.answer), *question_key(pair.question)))
    return hashlib.blake2b(said.encode(), digest_size=16).digest()


def round_trip_prompts(pairs: Iterable[Pair], settings: StepSettings) -> list[tuple[Pair, Prompt | None]]:
    """For each pair the prompt that asks its question back with its evidence at temperature 0.

    With `answers: spans` the reply is one of the spans that the question does not name; where only the pair's
    own answer is left, nothing can be learnt and the prompt is None.
    """
    asked: list[tuple[Pair, Prompt | None]] = []
    for pair in pairs:
        schema: dict[str, Any] | None = schemas.ANSWER
        if settings.spans:
            options = choices(pair)
            schema = schemas.choice(options) if len(options) > 1 else None
        if schema is None:
            asked.append((pair, None))
            continue
        values = {"text": pair.evidence, "question": pair.question}
        origin = Origin(pair.chunk_ids, pair.document_ids, pair.group_id)
        prompt = settings.prompt(
            pair.step, "round_trip", schema, origin,
            values=values, evidence=pair.evidence, short=True, exact=True,
        )  # fmt: skip
        asked.append((pair, prompt))
    return asked


def choices(pair: Pair) -> list[str]:
    """The answers that rules find in a pair's evidence and that its question does not name; its own comes first."""
    found = [cloze.answer for sentence in sentences(pair.evidence) for cloze in clozes(sentence)]
    named = set(content_words(pair.question))
    others = [answer for answer in dict.fromkeys(found) if not set(content_words(answer)) & named]
    own = set(content_words(pair.answer))
    return [pair.answer, *(answer for answer in others if not set(content_words(answer)) & own)]


def disagreement(pair: Pair, told: str) -> Lost | None:
    """The pair as lost when the generator's own answer `told` is another one."""
    if agrees(pair.answer, told) or tell_the_same(pair.answer, told):
        return None
    return lost(pair, "round_trip", f"asked back, the generator says: {told[:200]}")
