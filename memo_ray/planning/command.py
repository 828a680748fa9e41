"""`memo plan`: reads the documents as the corpus stage would, finds a measured run, and prints what is to come."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.models import Prices
from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.corpus.assembly import Assembly, prepare
from memo_ray.corpus.loaders import list_files
from memo_ray.corpus.reading import plan_units, read_unit
from memo_ray.errors import ConfigError
from memo_ray.planning.plan import Plan, Rates, make_plan, nothing_asked, read_step, size_of
from memo_ray.planning.ratios import READING_STEPS, Ratios, measured, stated
from memo_ray.rows import Chunk, Document, Group, Reject
from memo_ray.synthesis.settings import StepSettings
from memo_ray.workspace import open_run


def plan_run(
    config: RunConfig, measured_run: str | None = None, rates: Rates | None = None, prices: Prices | None = None
) -> list[Plan]:
    """A plan for each corpus of a run; nothing runs and nothing is written.

    `measured_run`: a run whose finished synthesis the ratios are taken from; none: they are stated ones. Raises
    ConfigError and CorpusError for settings, documents and runs that cannot be used.
    """
    ratios = ratios_of(measured_run, config) if measured_run else stated(config.synthesis)
    plans = []
    for corpus in config.corpora:
        if corpus.reflections or config.synthesis.source == "documents":
            plans.append(nothing_asked(corpus.name, "no generator runs: its pairs or texts are trained as they are"))
            continue
        chunks, groups = corpus_of(corpus)
        plans.append(make_plan(corpus.name, chunks, groups, config.synthesis, ratios, rates, prices))
    return plans


def corpus_of(config: CorpusConfig) -> tuple[list[Chunk], list[Group]]:
    """The chunks and groups that the corpus stage will make, read in this process."""
    if config.benchmark is not None:
        from memo_ray.evaluation.benchmarks.corpus import assemble, open_benchmark

        tables = assemble(config, open_benchmark(config))
        return tables.chunks, tables.groups
    listing = list_files(config)
    documents: list[Document] = []
    chunks: list[Chunk] = []
    assembly = Assembly(config, listing, documents, chunks)
    for unit in (unit for pack in plan_units(listing.files) for unit in pack):
        for item in read_unit(unit, config):
            assembly.add(item if isinstance(item, Reject) else prepare(item, config))
            documents.clear()  # only the chunks are counted
    return chunks, assembly.finish(lambda: ((chunk.chunk_id, chunk.text) for chunk in chunks))[0]


def ratios_of(run: str, config: RunConfig) -> Ratios:
    """What the finished synthesis of another run (or an earlier state of this one) measured.

    Raises ConfigError when it has none, or used another prompt set.
    """
    workspace = open_run(run, Console(quiet=True))
    name = workspace.config.corpora[0].name
    corpus, synthesis = (workspace.finished(f"{stage}-{name}") for stage in ("corpus", "synthesis"))
    if corpus is None or synthesis is None:
        raise ConfigError(f"--measured {run}: has no finished synthesis; give a run that has, or leave the option out")
    theirs = workspace.config.synthesis
    if theirs.prompts != config.synthesis.prompts:
        raise ConfigError(f"--measured {run}: was made with prompts: {theirs.prompts}; give a run with this one's")
    chunks, settings = corpus.rows("chunks", Chunk), StepSettings.load(theirs)
    read = {
        step: read_step(step, chunks, settings, stated(theirs)).input_tokens
        for step in READING_STEPS
        if step not in theirs.without
    }
    source = f"measured by {Path(run).name} ({len(chunks)} chunks)"
    return measured(synthesis.record.facts, size_of(chunks, settings), theirs, read, source)


def as_json(plan: Plan) -> dict[str, Any]:
    """A plan with its totals, for `--json`."""
    totals = {name: plan.total(name) for name in ("prompts", "input_tokens", "cached_tokens", "output_tokens")}
    return {**dataclasses.asdict(plan), "totals": totals}


def as_text(plan: Plan) -> str:
    """A plan as a table for a terminal."""
    head = f"{'step':<14}{'prompts':>12}{'input':>15}{'cached':>15}{'output':>14}"
    lines = [f"{plan.corpus}: {plan.chunks:,} chunks in {plan.groups:,} groups; later steps {plan.source}", head]
    for row in plan.steps:
        about = " " if row.exact else "~"
        lines.append(
            f"{row.step:<14}{about + format(row.prompts, ','):>12}{row.input_tokens:>15,}{row.cached_tokens:>15,}"
            f"{row.output_tokens:>14,}"
        )
    totals = [f"{plan.total(name):,}" for name in ("prompts", "input_tokens", "cached_tokens", "output_tokens")]
    lines.append(f"{'all':<14}{'~' + totals[0]:>12}{totals[1]:>15}{totals[2]:>15}{totals[3]:>14}")
    lines.append(f"about {plan.reflections:,} reflections, {plan.disk_bytes / 1e9:.2f} GB on disk while it runs")
    if plan.gpu_hours is not None:
        lines.append(f"about {plan.gpu_hours:,.2f} GPU-hours for the generator")
    if plan.money is not None:
        lines.append(f"about {plan.money:,.2f} {plan.currency}")
    return "\n".join(lines)
