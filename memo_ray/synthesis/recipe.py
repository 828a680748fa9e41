"""The recipe: one coroutine a chunk (Steps 1 to 4 and the held-out questions), one a candidate (Step 5).

Rows go in, a `UnitResult` comes out: the pairs that passed, everything that was lost and why, counts and tokens.
The recipe knows a ChatModel and the steps, but neither engine nor cluster. A step is a coroutine in `STEPS`;
an ablation leaves it out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.corpus.vectors import identity
from memo_ray.models.chat import ChatModel
from memo_ray.models.opening import engine_semantics
from memo_ray.synthesis import (
    checks,
    connections,
    consolidation,
    entities,
    extraction,
    filling,
    rephrasing,
    selection,
)  # fmt: skip
from memo_ray.synthesis.asking import Asker, Prompt, StepCount
from memo_ray.synthesis.candidates import Candidate
from memo_ray.synthesis.cast import NOBODY, Cast
from memo_ray.synthesis.pairs import Lost, Pair, Source, lost
from memo_ray.synthesis.redaction import redacted
from memo_ray.synthesis.self_containment import self_contained
from memo_ray.synthesis.settings import StepSettings

REPHRASINGS_PER_KEPT = 2
"""Parents tried for each held-out question that is wanted, since some rephrasings fail their checks."""


@dataclass
class Unit:
    """What one coroutine works on: a chunk, or every chunk of a document (`entity_scope: document`).

    `held_out`: how many questions it may hold out; `expected`: how many of its pairs are likely to be kept in the
    end (None: all), since only a question whose pair is kept is of use.
    """

    unit_id: str
    sources: list[Source]
    held_out: int = 0
    expected: int | None = None


@dataclass
class Work:
    """The pairs of a unit as they grow from step to step."""

    unit: Unit
    asker: Asker
    settings: StepSettings
    identifiers: tuple[str, ...]
    pairs: list[Pair] = field(default_factory=list)
    held_out: list[Pair] = field(default_factory=list)

    @property
    def cast(self) -> Cast:
        """Who acts in the unit's document; nobody for a candidate of Step 5, which has pairs of several."""
        return self.unit.sources[0].cast if self.unit.sources else NOBODY

    def of_chunk(self, source: Source) -> list[Pair]:
        """The pairs of one chunk."""
        return [pair for pair in self.pairs if source.chunk.chunk_id in pair.chunk_ids]

    async def keep(self, made: Iterable[Pair | Lost], parents: Iterable[Pair] = ()) -> list[Pair]:
        """Those of `made` that pass every check, duplicates and the round trip included; the rest is noted."""
        made = list(made)
        for item in made:
            self.asker.count(item.step).made += 1
        self.asker.lose(item for item in made if isinstance(item, Lost))
        good, bad = checks.sift(
            (item for item in made if isinstance(item, Pair)), self.settings, self.identifiers, parents, self.cast
        )  # fmt: skip
        self.asker.lose(bad)
        good, bad = checks.distinct(good, [*self.pairs, *self.held_out])
        self.asker.lose(bad)
        return await self.asked_back(good) if self.settings.config.grounding.round_trip else good

    async def asked_back(self, pairs: list[Pair]) -> list[Pair]:
        """The pairs that survive the round trip, and those of steps that are not asked back."""
        trips = checks.round_trip_prompts((pair for pair in pairs if self.settings.asks_back(pair.step)), self.settings)
        asked = [(pair, prompt) for pair, prompt in trips if prompt is not None]
        told = await self.asker.ask((prompt for _, prompt in asked), check=True)
        answers = {prompt.prompt_id: value["answer"] for prompt, value in told}
        refused = {
            pair.reflection_id: checks.disagreement(pair, answers.get(prompt.prompt_id, "")) for pair, prompt in asked
        }
        self.asker.lose(loss for loss in refused.values() if loss is not None)
        return [pair for pair in pairs if refused.get(pair.reflection_id) is None]


@dataclass
class UnitResult:
    """What came of a unit or candidate, or of so many `rows` of them, whose losses need not be in memory."""

    pairs: list[Pair]
    losses: Iterable[Lost]
    counts: dict[str, Any]
    cost: dict[str, int]
    rows: int = 1


def result_of(work: Work) -> UnitResult:
    """The outcome of finished work, counts as plain JSON. A sentence stays with its pairs, where the span is looked
    for and Step 5 shows it; a whole chunk does not, which nothing reads any more and many pairs would carry along."""
    counts = {step: count.to_json() for step, count in work.asker.counts.items()}
    pairs = [*work.pairs, *work.held_out]
    if work.settings.config.prompts == "chunk":
        pairs = [replace(pair, evidence="") for pair in pairs]
    return UnitResult(pairs, work.asker.losses, counts, dict(work.asker.cost))


async def extract(work: Work) -> None:
    """Steps 1a and 1b, asked at once for each chunk. Where both ask the same, the direct pair stays, whichever reply
    came first."""
    steps = [step for step in EXTRACTION if step not in work.settings.config.without]
    for source in work.unit.sources:
        prompts = (extraction.prompts(step, source.chunk, work.settings) for step in steps)
        for answered in await asyncio.gather(*map(work.asker.ask, prompts)):
            work.pairs += await work.keep(read(answered, extraction.pairs))


async def consolidate(work: Work) -> None:
    """Step 2: adds merged pairs to the raw ones."""
    for source in work.unit.sources:
        raw = work.of_chunk(source)
        answered = await work.asker.ask(consolidation.prompts(raw, source.chunk, work.settings))
        work.pairs += await work.keep(read(answered, consolidation.pairs), raw)


def read(answered: list[tuple[Prompt, Any]], reader: Callable[[Prompt, Any], list[Pair]]) -> list[Pair | Lost]:
    """Every pair that the replies hold; those that do not do what their prompt asked are lost."""
    return [checks.as_asked(pair, prompt) or pair for prompt, value in answered for pair in reader(prompt, value)]


async def verify(work: Work) -> None:
    """Step 3: replaces the pairs by those that are self-contained, rewritten where needed."""
    if work.unit.sources:
        found = (self_contained(work, source, work.of_chunk(source)) for source in work.unit.sources)
        work.pairs = [pair for kept in await asyncio.gather(*found) for pair in kept]


async def fill(work: Work) -> None:
    """Targeted fill (Appendix E.2): shows a chunk with its pairs and adds pairs for what they leave out."""
    for source in work.unit.sources:
        for number in range(work.settings.config.fill_rounds):
            answered = await work.asker.ask(filling.prompts(work.of_chunk(source), source.chunk, work.settings, number))
            work.pairs += await work.keep(read(answered, filling.pairs))


async def paraphrase(work: Work) -> None:
    """Paraphrasing (Appendix E.2): adds every pair's question in other words, `paraphrases` times."""
    copies, parents = work.settings.config.paraphrases, list(work.pairs)
    if not copies:
        return
    prompts = [p for parent in parents for p in rephrasing.prompts(parent, work.settings, "paraphrase", copies)]
    made: list[Pair | Lost] = []
    for prompt, value in await work.asker.ask(prompts):
        for child in rephrasing.pairs(prompt, value):
            detail = rephrasing.not_rephrased(child, prompt.items[0])
            made.append(lost(child, "not_rephrased", detail) if detail else child)
    work.pairs += await work.keep(made, parents)


async def surface(work: Work) -> None:
    """Step 4: adds pairs that describe each entity and answer with its name."""
    naming = entities.naming_prompts(work.pairs, work.settings)
    facts = entities.named(await work.asker.ask(naming, check=True)) if naming else entities.found(work.pairs)
    answered = await work.asker.ask(entities.prompts(facts, work.settings))
    work.pairs += await work.keep(read(answered, entities.pairs), list(work.pairs))


async def hold_out(work: Work) -> None:
    """Rephrases the questions of a share of the pairs that are kept first; at most the unit's own number."""
    wanted = min(work.unit.held_out, round(len(work.pairs) * work.settings.config.held_out.share))
    likely = selection.chosen(work.pairs, work.unit.expected)
    parents = selection.spread(likely, wanted * REPHRASINGS_PER_KEPT)
    answered = await work.asker.ask(p for parent in parents for p in rephrasing.prompts(parent, work.settings))
    taken: set[str] = set()
    made: list[Pair | Lost] = []
    for prompt, value in answered:
        parent = prompt.items[0]
        for child in rephrasing.pairs(prompt, value):
            detail = rephrasing.not_rephrased(child, parent)
            surplus = len(taken) >= wanted or parent.reflection_id in taken
            if detail:
                made.append(lost(child, "not_rephrased", detail))
            elif surplus:
                made.append(lost(child, "over_cap", "enough questions of this chunk are held out"))
            else:
                taken.add(parent.reflection_id)
                made.append(child)
    work.held_out += await work.keep(made, parents)


EXTRACTION = ("direct", "indirect")
STEPS: dict[str, Callable[[Work], Awaitable[None]]] = {
    "extraction": extract,
    "fill": fill,
    "consolidation": consolidate,
    "verification": verify,
    "entities": surface,
    "paraphrase": paraphrase,
    "rephrase": hold_out,
}
"""Steps 1 to 4, the options of Appendix E.2 and the held-out questions, in order. An option that is off asks
nothing."""


async def synthesise_unit(unit: Unit, model: ChatModel, settings: StepSettings) -> UnitResult:
    """Steps 1 to 4 for one unit. Raises EngineDied when the engine is gone."""
    identifiers = tuple(dict.fromkeys(name for source in unit.sources for name in source.identifiers))
    asker = Asker(model)
    if settings.config.quality.redact:
        unit = without_personal_data(unit, settings.config.quality.redact, asker)
    work = Work(unit, asker, settings, identifiers)
    for name, step in STEPS.items():
        if name not in settings.config.without:
            await step(work)
    return result_of(work)


def without_personal_data(unit: Unit, kinds: tuple[str, ...], asker: Asker) -> Unit:
    """The unit with personal data replaced in its texts, and how much of each kind noted under `redaction`."""
    sources = []
    for source in unit.sources:
        title, in_title = redacted(source.chunk.title, kinds)
        text, found = redacted(source.chunk.text, kinds)
        asker.count("redaction").kinds.update({kind: found[kind] + in_title[kind] for kind in {*found, *in_title}})
        cast = replace(source.cast, title=redacted(source.cast.title, kinds)[0])
        sources.append(replace(source, chunk=replace(source.chunk, title=title, text=text), cast=cast))
    return replace(unit, sources=sources)


async def connect(
    candidate: Candidate, identifiers: tuple[str, ...], model: ChatModel, settings: StepSettings
) -> UnitResult:
    """Step 5 for one candidate. Raises EngineDied when the engine is gone."""
    work = Work(Unit(candidate.candidate_id, []), Asker(model), settings, identifiers)
    answered = await work.asker.ask(connections.prompts(candidate, settings))
    parents = (candidate.anchor, *candidate.others)
    work.pairs += await work.keep(read(answered, connections.pairs), parents)
    return result_of(work)


async def connect_all(
    candidates: Iterable[tuple[Candidate, tuple[str, ...]]], model: ChatModel, settings: StepSettings
) -> UnitResult:
    """`connect` for candidates with their identifiers, all asked at once; their results as one, in that order."""
    parts = await asyncio.gather(*(connect(candidate, names, model, settings) for candidate, names in candidates))
    counts, cost = dict[str, StepCount](), Counter[str]()
    for part in parts:
        cost.update(part.cost)
        for step, data in part.counts.items():
            counts.setdefault(step, StepCount()).add(StepCount.read(data))
    return UnitResult(
        pairs=[pair for part in parts for pair in part.pairs],
        losses=[loss for part in parts for loss in part.losses],
        counts={step: count.to_json() for step, count in counts.items()},
        cost=dict(cost),
        rows=len(parts),
    )


def semantics(config: SynthesisConfig) -> dict[str, Any]:
    """What changes the result, as JSON: the settings and the prompts' digests, but neither worker counts nor paths."""
    if config.source == "documents":
        return {"source": config.source}
    settings = StepSettings.load(config)
    data = config.model_dump(
        mode="json", exclude={"chunks_in_flight", "engine_restarts", "no_progress_s", "max_reject_share", "generator"}
    )
    # Which model it is stands among the inputs, by its digest.
    generator = engine_semantics(config.generator)
    if config.connections.encoder is not None:
        data["connections"]["encoder"] = identity(config.connections.encoder, "synthesis.connections.encoder")
    return {**data, "generator": generator, "prompt_digests": settings.prompts.digests}
