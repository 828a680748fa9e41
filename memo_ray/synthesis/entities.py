"""Step 4: questions that describe an entity and whose answer is its name, against the reversal curse (Section 4.1).

    Pair, all verified ones of a chunk (or document) -> {entity: its pairs}
    entity -> Prompt {entity, facts} -> Pair {question describes, answer names, kind}, at several complexities

The generator names the entities, or, in a set without `naming.md`, rules look for capitalised names. In the
sentence set the facts are the sentences without the name, two or three to a question.
"""

from __future__ import annotations

import itertools
from typing import Any

from memo_ray.synthesis import schemas
from memo_ray.synthesis.asking import Prompt
from memo_ray.synthesis.cloze import Cloze, clozes, vocabulary
from memo_ray.synthesis.grounding import content_words
from memo_ray.synthesis.pairs import Pair, plain, tells
from memo_ray.synthesis.rules import GAP
from memo_ray.synthesis.settings import Origin, StepSettings, made, numbered, picked
from memo_ray.synthesis.spans import names, sentences

PAIRS_A_PROMPT = 60
FACTS_A_QUESTION = (2, 3)
"""Sentence set: how many statements one question puts together."""
QUESTIONS_AN_ENTITY = 3
DESCRIPTIONS = schemas.at_most(schemas.SURFACED, 16)
"""Whole chunks: descriptions of one entity in a reply. The paper asks for several complexities, not for a number."""


def naming_prompts(pairs: list[Pair], settings: StepSettings) -> list[Prompt]:
    """Prompts that ask which entities the pairs are about, and by which pairs; none for a set that has rules do it."""
    if "naming" not in settings.prompts:
        return []
    batches = [tuple(pairs[i : i + PAIRS_A_PROMPT]) for i in range(0, len(pairs), PAIRS_A_PROMPT)]
    return [
        settings.prompt(
            "entities", "naming", schemas.NAMED, Origin.of_pairs(batch),
            values={"pairs": numbered(batch)}, exact=True, items=batch,
        )
        for batch in batches
    ]  # fmt: skip


def named(answers: list[tuple[Prompt, Any]]) -> dict[str, list[Pair]]:
    """The facts of every entity, gathered over the replies to `naming_prompts`, whatever the capitals of its name."""
    facts: dict[str, dict[str, Pair]] = {}
    spelled: dict[str, str] = {}
    for prompt, value in answers:
        for entity in value["entities"]:
            name = " ".join(entity["name"].split())
            about = facts.setdefault(spelled.setdefault(plain(name), name), {})
            about.update(
                (pair.reflection_id, pair) for pair in picked(entity["pairs"], prompt.items) if mentions(pair, name)
            )
    return {name: list(about.values()) for name, about in facts.items() if plain(name) and about}


def mentions(pair: Pair, name: str) -> bool:
    """Whether a pair says something about what is called `name`: half of the name's words are in it or its text."""
    told = set(content_words(f"{pair.question} {pair.answer}"))
    words = content_words(name)
    return bool(words) and 2 * sum(word in told for word in words) >= len(words)


def found(pairs: list[Pair]) -> dict[str, list[Pair]]:
    """The facts of every capitalised name, gathered over the pairs and the sentences behind them."""
    facts: dict[str, list[Pair]] = {}
    for pair in pairs:
        for name in dict.fromkeys((*names(pair.evidence), *names(pair.question))):
            facts.setdefault(name, []).append(pair)
    return facts


def prompts(facts: dict[str, list[Pair]], settings: StepSettings) -> list[Prompt]:
    """The prompts for every entity with its facts."""
    if settings.config.prompts == "chunk":
        return [
            prompt
            for entity, about in facts.items()
            for prompt in settings.samples(
                "entities", "entities", DESCRIPTIONS, Origin.of_pairs(tuple(about)),
                values={"entity": entity, "facts": numbered(tuple(about))}, answer=entity, items=tuple(about),
                evidence="\n".join(dict.fromkeys(pair.evidence for pair in about)),
            )
        ]  # fmt: skip
    return [
        prompt
        for entity, about in facts.items()
        for told in _groups(statements(entity, about))
        for prompt in describing_prompts("entities", entity, told, settings)
    ]


def statements(entity: str, about: list[Pair]) -> list[tuple[Cloze, Pair]]:
    """What the pairs' sentences say of `entity` as their subject, each once, without the name."""
    told: dict[str, tuple[Cloze, Pair]] = {}
    for pair in about:
        for sentence in sentences(pair.evidence):
            for cloze in clozes(sentence):
                if cloze.answer == entity and cloze.text.startswith(GAP):
                    told.setdefault(sentence, (cloze, pair))
    return list(told.values())


def _groups(told: list[tuple[Cloze, Pair]]) -> list[tuple[tuple[Cloze, Pair], ...]]:
    groups = [group for size in FACTS_A_QUESTION for group in itertools.combinations(told, size)]
    return groups[:QUESTIONS_AN_ENTITY]


def describing_prompts(
    step: str, entity: str, told: tuple[tuple[Cloze, Pair], ...], settings: StepSettings, group_id: str = ""
) -> list[Prompt]:
    """Prompts for a question that puts the statements together and asks for the entity."""
    parents = tuple(dict.fromkeys(pair for _, pair in told))
    opening = told[0][0].opening
    words = vocabulary([word for cloze, _ in told for word in cloze.words])
    return settings.samples(
        step, f"{step}_for_answer", schemas.question(opening, words), Origin.of_pairs(parents, group_id),
        values={
            "facts": "\n".join(f"Statement {n}: {cloze.text}" for n, (cloze, _) in enumerate(told, 1)),
            "opening": opening,
        },
        evidence=" ".join(pair.evidence for pair in parents), short=True, answer=entity, items=parents,
        statement="\n".join(cloze.text for cloze, _ in told),
    )  # fmt: skip


def pairs(prompt: Prompt, value: Any) -> list[Pair]:
    """The pairs in a reply to one of `prompts`."""
    if "pairs" not in value:
        return [made(prompt, value["question"], prompt.answer, prompt.items, complexity(prompt.items))]
    found = [(item, picked(item["uses"], prompt.items) or prompt.items) for item in value["pairs"]]
    return [made(prompt, item["question"], prompt.answer, facts, complexity(facts)) for item, facts in found]


def complexity(facts: tuple[Pair, ...]) -> str:
    """The kind of a description by how many pairs it puts together: single-fact to multi-fact (Section 4.1)."""
    return ("one_fact", "two_facts", "many_facts")[min(len(facts), 3) - 1]


def named_itself(pair: Pair, entity: str) -> str:
    """Why a description gives away the entity that it is to lead to: it names it; else empty."""
    return f"the question names {entity} itself" if tells(pair.question, entity) else ""
