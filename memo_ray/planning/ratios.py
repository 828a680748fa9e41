"""What later steps will need for each text: measured by a finished synthesis, or stated where there is none.

The prompts of Step 1 can be made and counted; how many follow depends on the generator's replies. `Ratios` says what
to expect of them, and where that comes from. A text is what one prompt of Step 1 reads: a chunk, or with `prompts:
sentence` a sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from memo_ray.config.synthesis import Connections, SynthesisConfig
from memo_ray.synthesis.recipe import REPHRASINGS_PER_KEPT

PAIR_TOKENS = 50.0
"""Tokens of a pair in a JSON reply, when the generator writes whole pairs."""
SHOWN_TOKENS = 40.0
"""Tokens of a pair in a prompt."""
INSTRUCTION_TOKENS = 350.0
"""Tokens of the system prompt, the instruction and the chat template."""
READING_STEPS = ("direct", "indirect")
SHOW_THE_CHUNK = frozenset({"fill", "verification", "round_trip"})
"""Later steps whose prompts hold the whole chunk, with `prompts: chunk`."""
LINKED_NEIGHBOURS, LINKED_HUBS = 0.65, 0.5
"""Links of a pair by `neighbours` and `hub_neighbours`, which mostly find each other: together 36 for the defaults,
where `benchmarks/candidates.py` finds 32 to 41."""


@dataclass(frozen=True)
class StepRatio:
    """`prompts`: for each text, or for Step 5 for each candidate. `extra_input`: prompt tokens beside the chunk's.

    `chunk`: whether a prompt shows the whole chunk. `cached`: share of the prompt tokens that the engine has; None:
    those of the chunk.
    """

    prompts: float
    extra_input: float
    output: float
    chunk: bool = False
    cached: float | None = None


@dataclass(frozen=True)
class Corpus:
    """What is planned for, or was measured on: chunks, texts in them, and the estimated tokens of a chunk."""

    chunks: int
    texts: int
    chunk_tokens: float


@dataclass(frozen=True)
class Ratios:
    """`offered`: pairs of a text that Step 5 may connect; `pairs`: all that are there before it.

    `linked`: Step-5 prompts for each offered pair where not all pairs are looked at together. `connected`: pairs that
    come of a Step-5 prompt. `read`: real prompt tokens of a step of `READING_STEPS` by estimated ones: another
    vocabulary, and prompts that were put twice. `source`: where the numbers come from, for people.
    """

    source: str
    steps: Mapping[str, StepRatio]
    offered: float
    pairs: float
    linked: float
    connected: float
    read: Mapping[str, float] = field(default_factory=dict)


def stated(config: SynthesisConfig) -> Ratios:
    """Rules of thumb, good for a first idea and no more.

    `prompts: chunk` from the paper's counts (Tables 9 and 11): without Step 5, 24.5 pairs are left for a MuSiQue
    document of about a hundred words and 34 for a NarrativeQA chunk of 6,400, so pairs depend little on the length of a
    chunk. `prompts: sentence` from the facts of `make demo`.
    """
    size, linked = batch_size(config), links_a_pair(config.connections)
    if config.prompts == "sentence":
        steps = {
            "direct": StepRatio(0, 0, 20), "indirect": StepRatio(0, 0, 29),
            "consolidation": StepRatio(0.6, 330, 40, cached=0.75), "verification": StepRatio(0.02, 380, 40),
            "entities": StepRatio(0.25, 380, 26, cached=0.65), "rephrase": StepRatio(0.75, 385, 24, cached=0.65),
            "paraphrase": StepRatio(2.5 * config.paraphrases, 385, 24, cached=0.65),
            "connections": StepRatio(1, 340, 38, cached=0.7),
        }  # fmt: skip
        if config.grounding.round_trip:
            steps["round_trip"] = StepRatio(1.2, 440, 10, cached=0.8)
        return Ratios("stated (no measured run)", steps, offered=1, pairs=2.5, linked=linked, connected=0.5)
    raw, merged, entities, pairs = 14.0, 4.0, 4.0, 25.0
    most = config.sampling.max_tokens
    steps = {
        "direct": StepRatio(0, 0, min(most, 9 * PAIR_TOKENS)),
        "indirect": StepRatio(0, 0, min(most, 5 * PAIR_TOKENS)),
        "fill": StepRatio(config.fill_rounds, INSTRUCTION_TOKENS + raw * SHOWN_TOKENS, 3 * PAIR_TOKENS, chunk=True),
        "consolidation": StepRatio(
            1, INSTRUCTION_TOKENS + raw * SHOWN_TOKENS, min(most, merged * 1.5 * PAIR_TOKENS), cached=0.0
        ),
        # One batch of verdicts, and four rewritings with a second verdict each.
        "verification": StepRatio(4, INSTRUCTION_TOKENS + 5 * SHOWN_TOKENS, 2 * PAIR_TOKENS, chunk=True),
        "entities": StepRatio(1 + entities, INSTRUCTION_TOKENS + 6 * SHOWN_TOKENS, 3 * PAIR_TOKENS),
        "paraphrase": StepRatio(pairs * config.paraphrases, INSTRUCTION_TOKENS, 30),
        "rephrase": StepRatio(1, INSTRUCTION_TOKENS, 30),
        "connections": StepRatio(1, INSTRUCTION_TOKENS + min(size, 20) * SHOWN_TOKENS, 1.5 * PAIR_TOKENS),
    }
    if config.grounding.round_trip:
        steps["round_trip"] = StepRatio(18, INSTRUCTION_TOKENS, 20, chunk=True)
    return Ratios("stated (no measured run)", steps, offered=pairs, pairs=pairs, linked=linked / size, connected=1.5)


def measured(
    facts: Mapping[str, Any], corpus: Corpus, config: SynthesisConfig, read: Mapping[str, int], source: str
) -> Ratios:
    """The ratios of a finished synthesis of `corpus` with `config`, from its facts.

    `read`: the prompt tokens of Step 1 as a plan estimates them there.
    """
    by_step, candidates = facts["by_step"], facts.get("candidates", 0)
    asked = by_step.get("connections", {})
    offered, texts = facts["offered"], max(1, corpus.texts)
    pairs = sum(count["made"] - sum(count["lost"].values()) + count["lost"].get("over_cap", 0)
                for step, count in by_step.items() if step not in ("connections", "rephrase"))  # fmt: skip
    units = {"connections": candidates, "rephrase": rephrased(corpus, pairs / texts, config)}
    whole = config.prompts == "chunk"
    steps = {
        step: measured_step(
            count, units.get(step, texts), corpus.chunk_tokens if whole and step in SHOW_THE_CHUNK else 0.0
        )
        for step, count in by_step.items()
    }
    direct = by_step.get("direct", {})
    if direct.get("checks"):
        each = steps["direct"]
        share = direct["checks"] / (direct["prompts"] + direct["checks"])
        steps["round_trip"] = StepRatio(each.prompts * share, each.extra_input, each.output, cached=each.cached)
    bounded = config.connections.max_prompts is not None or config.connections.candidates == "all_pairs"
    return Ratios(
        source=source,
        steps=steps,
        offered=offered / texts,
        pairs=pairs / texts,
        linked=links_a_pair(config.connections) / batch_size(config) if bounded else candidates / max(1, offered),
        connected=asked.get("kept", 0) / candidates if candidates else 0.0,
        read={step: reading(by_step[step]) / tokens for step, tokens in read.items() if step in by_step and tokens},
    )


def measured_step(count: Mapping[str, Any], units: float, chunk_tokens: float) -> StepRatio:
    """One step's ratios; `units`: the texts or candidates that it worked on; `chunk_tokens`: shown in each prompt."""
    prompts = count["prompts"] + count["checks"]
    each = {
        name: count.get(f"{name}_tokens", 0) / prompts if prompts else 0.0 for name in ("input", "output", "cached")
    }
    share = each["cached"] / each["input"] if each["input"] else 0.0
    beside = max(0.0, each["input"] - chunk_tokens)
    return StepRatio(prompts / max(1, units), beside, each["output"], chunk=chunk_tokens > 0, cached=share)


def reading(count: Mapping[str, Any]) -> float:
    """Prompt tokens of a step's own prompts, without those of the round trip."""
    return count["input_tokens"] * count["prompts"] / max(1, count["prompts"] + count["checks"])


def rephrased(corpus: Corpus, pairs: float, config: SynthesisConfig) -> float:
    """Prompts for held-out questions: a share of the pairs, or what `max_questions` leaves each chunk; `pairs`: a text.

    More are asked than held out, since some rephrasings are lost.
    """
    chunks = max(1, corpus.chunks)
    quota = -(-config.held_out.max_questions // chunks)
    return REPHRASINGS_PER_KEPT * chunks * min(quota, config.held_out.share * pairs * corpus.texts / chunks)


def links_a_pair(config: Connections) -> float:
    """Pairs that a pair is looked at with under `shared_entities`, as far as the settings tell."""
    return 1 + LINKED_NEIGHBOURS * config.neighbours + LINKED_HUBS * config.hub_neighbours


def batch_size(config: SynthesisConfig) -> int:
    """Pairs of other chunks that one Step-5 prompt shows."""
    return 1 if config.prompts == "sentence" else config.connections.batch_size
