"""Step 2: joins pairs of a chunk that share a context into pairs that need several facts (paper, Section 4.1).

    Pair {question, answer} of one chunk
      -> Prompt {pairs}                  numbered pairs that may share a context
      -> Pair {kind, question, answer, parents}

A whole-chunk prompt shows all raw pairs and the generator chooses, saying what those it merges have in common; a
prompt of the sentence set shows two pairs about one name or date, its reply is the joint question, and the answer
joins both answers.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

from memo_ray.rows import Chunk
from memo_ray.synthesis import schemas
from memo_ray.synthesis.asking import Prompt
from memo_ray.synthesis.cloze import MAY_BE_LEFT_OUT, vocabulary
from memo_ray.synthesis.grounding import ASKED_STEMS, content_words, numbers
from memo_ray.synthesis.lexicon import FUNCTION_WORDS
from memo_ray.synthesis.pairs import Pair
from memo_ray.synthesis.selection import spread
from memo_ray.synthesis.settings import Origin, StepSettings, made, numbered, picked, shown
from memo_ray.synthesis.wording import proper

COMMONALITIES: dict[str, str] = {
    "entity": "the same person, place, organisation or thing",
    "time_period": "the same date, year or overlapping period",
    "relation": "the same kind of relation or property of different things",
    "event_sequence": "events that follow or cause one another, or belong to one scene",
}
"""What pairs may have in common (paper, Section 4.1 Step 2 and Appendix E.1); the generator is shown this table."""

JOINS_A_CHUNK = 4
"""Joins tried for a chunk with the sentence set, spread over its pairs."""


def prompts(pairs: list[Pair], chunk: Chunk, settings: StepSettings) -> list[Prompt]:
    """The prompts for one chunk's raw pairs; none when they are fewer than `min_pairs_to_consolidate`."""
    if len(pairs) < settings.config.min_pairs_to_consolidate:
        return []
    if settings.config.prompts == "chunk":
        origin = Origin.of_chunk(chunk)
        kinds = "\n".join(f"- {name}: {meaning}" for name, meaning in COMMONALITIES.items())
        size = settings.config.consolidation_batch or len(pairs)
        return [
            prompt
            for batch in (tuple(pairs[i : i + size]) for i in range(0, len(pairs), size))
            for prompt in settings.samples(
                "consolidation", "consolidation", schemas.at_most(schemas.of_kinds(COMMONALITIES), len(batch)), origin,
                values={"pairs": numbered(batch), "kinds": kinds}, evidence=shown(chunk), items=batch,
            )
        ]  # fmt: skip
    return [
        prompt
        for first, second in spread(candidates(pairs), JOINS_A_CHUNK)
        for prompt in joining_prompts("consolidation", "consolidation", first, second, settings)
    ]


def candidates(pairs: list[Pair]) -> list[tuple[Pair, Pair]]:
    """Two questions of different sentences that share a name or number and have different answers."""
    found, used = [], set()
    for first, second in itertools.combinations(pairs, 2):
        evidences = (first.evidence, second.evidence)
        shared = (proper(first.question) | numbers(first.question)) & (
            proper(second.question) | numbers(second.question)
        )
        answers = set(content_words(first.answer)) & set(content_words(second.answer))
        if first.evidence != second.evidence and evidences not in used and len(shared) > 1 and not answers:
            used.add(evidences)
            found.append((first, second))
    return found


def joining_prompts(
    step: str, template: str, first: Pair, second: Pair, settings: StepSettings, group_id: str = ""
) -> list[Prompt]:
    """Prompts that join two questions into one; the answer to come is both answers."""
    opening, rest = split_opening(first.question)
    _, second_rest = split_opening(second.question)
    asking = second.question.split()[0].lower()
    words = vocabulary([*rest, *second_rest, *second.question.split()[1:2], asking, "and", "did", "was", "is"])
    return settings.samples(
        step, template, schemas.question(opening, [word.strip("?,") for word in words]),
        Origin.of_pairs((first, second), group_id),
        values={"pairs": f"Question 1: {first.question}\nQuestion 2: {second.question}"},
        evidence=f"{first.evidence} {second.evidence}", short=True,
        answer=f"{first.answer} and {second.answer}", items=(first, second),
    )  # fmt: skip


def split_opening(question: str) -> tuple[str, list[str]]:
    """The question's first words up to its first content word, and the words after them."""
    words = question.rstrip("?").split()
    at = next((i for i, word in enumerate(words[1:], 1) if word.strip(",").lower() not in FUNCTION_WORDS), len(words))
    return " ".join(words[:at]), [word.strip(",") for word in words[at:]]


def pairs(prompt: Prompt, value: Any) -> list[Pair]:
    """The merged pairs in a reply; their parents are those that the reply says it used."""
    if prompt.answer:
        return [made(prompt, value["question"], prompt.answer, prompt.items, "entity")]
    return [
        made(prompt, item["question"], item["answer"], picked(item["uses"], prompt.items), item["kind"])
        for item in value["pairs"]
    ]


def half_asked(pair: Pair, parents: tuple[Pair, ...]) -> str:
    """Why a joint question does not ask both questions: one's content words are missing; else empty."""
    said = set(content_words(pair.question))
    for parent in parents:
        missing = [word for word in content_words(parent.question) if word not in said and word not in MAY_BE_LEFT_OUT]
        if missing:
            return f"leaves out {', '.join(missing)} of: {parent.question}"
    if len(re.findall(r"\b(who|what|which|when|where|how|whose|whom)\b", pair.question, re.IGNORECASE)) < len(parents):
        return "asks for one thing only"
    return ""


def told_by_one(pair: Pair, shown_pairs: tuple[Pair, ...]) -> str:
    """Why a merged pair of free wording joins nothing: one of its parents already asks and answers it; else empty."""
    merged = {word for word in content_words(f"{pair.question} {pair.answer}") if word not in ASKED_STEMS}
    for parent in shown_pairs:
        if parent.reflection_id in pair.parents and merged <= set(content_words(f"{parent.question} {parent.answer}")):
            return f"asks no more than: {parent.question}"
    return ""
