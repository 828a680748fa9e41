"""Step 5: questions that need facts of several chunks of a group (paper, Section 4.1).

    Candidate {anchor pair, other pairs of other chunks}
      -> Prompt {anchor, others} -> Pair {kind, question, answer, parents, group_id}

Two kinds: converging clues (facts of one entity, which together identify it) and parallel properties (different
entities with a common attribute). With the sentence set a candidate has one other pair; if both sentences have
a common subject, the question describes it, else the two questions are joined.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from memo_ray.synthesis import schemas
from memo_ray.synthesis.asking import Prompt
from memo_ray.synthesis.candidates import Candidate
from memo_ray.synthesis.consolidation import joining_prompts
from memo_ray.synthesis.entities import describing_prompts, statements
from memo_ray.synthesis.pairs import Pair, tells
from memo_ray.synthesis.settings import Origin, StepSettings, made, numbered, picked
from memo_ray.synthesis.spans import names

CONNECTIONS = ("converging_clues", "parallel_properties")
"""The paper's two types of cross-document connection (Section 4.1, Step 5)."""


def prompts(candidate: Candidate, settings: StepSettings) -> list[Prompt]:
    """The prompts for one anchor pair and the pairs of other chunks that it is shown with."""
    shown = (candidate.anchor, *candidate.others)
    if settings.config.prompts == "chunk":
        return settings.samples(
            "connections", "connections", schemas.of_kinds(CONNECTIONS), Origin.of_pairs(shown, candidate.group_id),
            values={"anchor": f"1. Q: {shown[0].question} A: {shown[0].answer}", "others": others(candidate.others)},
            evidence=numbered(shown), items=shown,
        )  # fmt: skip
    return [prompt for other in candidate.others for prompt in _between(candidate.anchor, other, candidate, settings)]


def offered(pairs: list[Pair], settings: StepSettings) -> list[Pair]:
    """The pairs of one chunk that may be connected: all, or with the sentence set the first of every sentence,
    since there a prompt shows the sentences behind the pairs."""
    if settings.config.prompts == "chunk":
        return pairs
    return list({pair.evidence: pair for pair in reversed(pairs) if pair.step == "direct"}.values())[::-1]


def others(pairs: tuple[Pair, ...]) -> str:
    """Numbered lines that go on after the anchor's 1."""
    return "\n".join(
        f"{number}. {line.split('. ', 1)[1]}" for number, line in enumerate(numbered(pairs).splitlines(), 2)
    )


def _between(first: Pair, second: Pair, candidate: Candidate, settings: StepSettings) -> list[Prompt]:
    for entity in names(first.evidence):
        told = (*statements(entity, [first])[:1], *statements(entity, [second])[:1])
        if len(told) == 2 and told[0][0].text != told[1][0].text:
            return describing_prompts("connections", entity, told, settings, candidate.group_id)
    return joining_prompts("connections", "parallels", first, second, settings, candidate.group_id)


def pairs(prompt: Prompt, value: Any) -> list[Pair]:
    """The pairs in a reply; their parents are the pairs that the reply says it used."""
    if prompt.answer:
        kind = "converging_clues" if prompt.statement else "parallel_properties"
        return [made(prompt, value["question"], prompt.answer, prompt.items, kind)]
    found = [(item, picked([1, *item["uses"]], prompt.items)) for item in value["pairs"]]
    # What a pair is made from are the pairs that it used, not all that were shown.
    return [
        replace(made(prompt, item["question"], item["answer"], used, item["kind"]), evidence=numbered(used))
        for item, used in found
    ]


def unconnected(pair: Pair) -> str:
    """Why a pair connects nothing: its parents are of one chunk, or clues give away what they lead to; else empty."""
    if len(pair.chunk_ids) < 2:
        return "uses facts of one chunk only"
    if pair.kind == "converging_clues" and tells(pair.question, pair.answer):
        return "the clues name what they should lead to"
    return ""
