"""What a synthesis will need before anything runs: prompts and tokens by step, GPU-hours, money, disk.

Chunks, groups and settings in, a `Plan` out; no engine and no cluster. Step 1 is counted from its own prompts;
later steps are estimated from `Ratios`, and every row says which it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from memo_ray.config.models import OpenAIModel, Prices, VllmModel
from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.models.spending import money
from memo_ray.models.tokens import estimated_tokens
from memo_ray.planning.ratios import READING_STEPS, Corpus, Ratios, StepRatio, batch_size, rephrased
from memo_ray.rows import Chunk, Group
from memo_ray.synthesis import extraction
from memo_ray.synthesis.consolidation import JOINS_A_CHUNK
from memo_ray.synthesis.settings import StepSettings

TEMPLATE_TOKENS = 20
"""What a chat template adds to a conversation."""
PAIR_BYTES = 1500
"""A reflection with its ledger row and its result in the pass's files, before compression of the tables."""
PROMPT_BYTES = 400
"""What a prompt leaves behind besides its pairs: counts, losses, a file's own frame."""
STEP_ORDER = (
    *READING_STEPS, "round_trip", "fill", "consolidation", "verification", "entities", "paraphrase", "rephrase",
    "connections",
)  # fmt: skip


@dataclass(frozen=True)
class StepPlan:
    """One step's row. `exact`: the prompts are counted, not estimated."""

    step: str
    prompts: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    exact: bool = False


@dataclass(frozen=True)
class Rates:
    """Tokens a second of one engine: prompt tokens that it computes, and tokens that it writes."""

    prefill: float
    decode: float


@dataclass(frozen=True)
class Plan:
    """The whole stage. None: nothing was stated that it could be computed from."""

    corpus: str
    chunks: int
    groups: int
    source: str
    steps: tuple[StepPlan, ...]
    reflections: int
    disk_bytes: int
    gpu_hours: float | None
    money: float | None
    currency: str

    @property
    def prompts(self) -> int:
        """Prompts of all steps."""
        return sum(step.prompts for step in self.steps)

    def total(self, name: str) -> int:
        """A column's sum, by its name in StepPlan."""
        return sum(getattr(step, name) for step in self.steps)


def make_plan(
    corpus: str,
    chunks: Sequence[Chunk],
    groups: Sequence[Group],
    config: SynthesisConfig,
    ratios: Ratios,
    rates: Rates | None = None,
    prices: Prices | None = None,
) -> Plan:
    """The plan for one corpus. `prices` of the generator's own settings count when none are given."""
    settings = StepSettings.load(config)
    texts = {chunk.chunk_id: len(settings.texts(chunk)) for chunk in chunks}
    size = size_of(chunks, settings)
    connects = "connections" not in config.without
    candidates = step_5_prompts(groups, texts, ratios, config) if connects else 0
    units: dict[str, float] = {"connections": candidates, "rephrase": rephrased(size, ratios.pairs, config)}
    rows = [read_step(step, chunks, settings, ratios) for step in READING_STEPS if step not in config.without]
    for step in STEP_ORDER:
        ratio = ratios.steps.get(step)
        if step in READING_STEPS or step in config.without or ratio is None:
            continue
        if config.prompts == "sentence" and step == "consolidation":  # a chunk's joins are so many at most
            units[step] = min(size.texts, size.chunks * JOINS_A_CHUNK * config.samples / max(ratio.prompts, 1e-9))
        row = estimated_step(step, units.get(step, size.texts), size.chunk_tokens, ratio)
        if row.prompts:
            rows.append(row)
    reflections = round(size.texts * ratios.pairs + candidates * ratios.connected)
    reflections = min(reflections, config.max_reflections or reflections)
    generator = config.generator
    prices = prices or (generator.prices if isinstance(generator, OpenAIModel) else None)
    used = {
        name: sum(getattr(row, name) for row in rows) for name in ("input_tokens", "cached_tokens", "output_tokens")
    }
    batch = isinstance(generator, OpenAIModel) and generator.batch is not None
    return Plan(
        corpus=corpus,
        chunks=len(chunks),
        groups=len(groups),
        source=ratios.source,
        steps=tuple(rows),
        reflections=reflections,
        disk_bytes=reflections * PAIR_BYTES + sum(row.prompts for row in rows) * PROMPT_BYTES,
        gpu_hours=round(gpu_hours(rows, rates, generator), 3) if rates and isinstance(generator, VllmModel) else None,
        money=round(money(prices, used, batch=batch), 2) if prices else None,
        currency=prices.currency if prices else "",
    )


def nothing_asked(corpus: str, source: str) -> Plan:
    """The plan for a corpus whose synthesis asks no generator; `source` says why."""
    return Plan(corpus, 0, 0, source, (), 0, 0, None, None, "")


def size_of(chunks: Sequence[Chunk], settings: StepSettings) -> Corpus:
    """How many chunks and texts there are, and how long a chunk is."""
    tokens = sum(estimated_tokens(chunk.text) for chunk in chunks)
    return Corpus(len(chunks), sum(len(settings.texts(chunk)) for chunk in chunks), tokens / max(1, len(chunks)))


def read_step(step: str, chunks: Iterable[Chunk], settings: StepSettings, ratios: Ratios) -> StepPlan:
    """Step 1a or 1b: its own prompts, made and counted, with the tokens of their texts."""
    prompts = tokens = cached = 0
    whole = settings.config.prompts == "chunk"
    for chunk in chunks:
        for number, prompt in enumerate(extraction.prompts(step, chunk, settings)):
            size = TEMPLATE_TOKENS + sum(estimated_tokens(message["content"]) for message in prompt.messages)
            prompts += 1
            tokens += size
            # What stands before the chunk's end was computed for 1a, and for the first of several samples.
            if whole and (step == "indirect" or number):
                cached += round(estimated_tokens(chunk.text))
            elif not whole:
                cached += size - estimated_tokens(prompt.messages[-1]["content"]) - TEMPLATE_TOKENS
    known, scale = ratios.steps.get(step, StepRatio(0, 0, 0)), ratios.read.get(step, 1.0)
    if known.cached is not None:
        cached = round(tokens * known.cached)
    return StepPlan(step, prompts, round(tokens * scale), round(cached * scale), round(prompts * known.output), True)


def estimated_step(step: str, units: float, chunk_tokens: float, ratio: StepRatio) -> StepPlan:
    """A later step: so many prompts for each unit (text, candidate), with the chunk where the step shows it."""
    prompts = round(units * ratio.prompts)
    shown = chunk_tokens if ratio.chunk else 0.0
    tokens = prompts * (ratio.extra_input + shown)
    cached = prompts * shown if ratio.cached is None else tokens * ratio.cached
    return StepPlan(step, prompts, round(tokens), round(cached), round(prompts * ratio.output))


def step_5_prompts(groups: Iterable[Group], texts: Mapping[str, int], ratios: Ratios, config: SynthesisConfig) -> int:
    """The candidates that Step 5 will look at, at most `max_prompts` a group. `texts`: of every chunk.

    As in the paper, every pair against batches of the pairs of all later chunks of its group; with `shared_entities`
    no more than the links of its pairs make.
    """
    size, most = batch_size(config), config.connections.max_prompts
    total = 0.0
    for group in groups:
        pairs = [texts[chunk_id] * ratios.offered for chunk_id in group.chunk_ids]
        later, count = sum(pairs), 0.0
        for here in pairs:
            later -= here
            count += here * math.ceil(max(0.0, later - 1e-6) / size)
        if config.connections.candidates == "shared_entities":
            count = min(count, sum(pairs) * ratios.linked)
        total += count if most is None else min(count, most)
    return round(total)


def gpu_hours(steps: Iterable[StepPlan], rates: Rates, generator: VllmModel) -> float:
    """Hours of GPU: computed prompt tokens and written tokens at one engine's rates, times the GPUs of an engine."""
    rows = list(steps)
    prefill = sum(row.input_tokens - row.cached_tokens for row in rows) / rates.prefill
    decode = sum(row.output_tokens for row in rows) / rates.decode
    return (prefill + decode) / 3600 * generator.gpus
