"""The synthesis stage on Ray Data: a corpus in; the tables reflections, ledger and rejects out.

Two passes (`ray_pass.py`): Steps 1 to 4 a chunk (or document), then Step 5 some candidates (and, when it is to be
calibrated, all pairs of a few groups). All of them ask the same engines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from memo_ray.artifacts.place import Location, Place
from memo_ray.artifacts.store import Artifact, Attempt
from memo_ray.artifacts.tables import iterate_rows
from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.models.opening import Opener, open_model
from memo_ray.progress import Progress
from memo_ray.rows import Chunk, Document, Group, LedgerEntry, Reflection, Reject
from memo_ray.synthesis import assembly, connections
from memo_ray.synthesis.calibration import kept, sample_candidates
from memo_ray.synthesis.candidates import proposals
from memo_ray.synthesis.pairs import Pair
from memo_ray.synthesis.ray_engines import Engines
from memo_ray.synthesis.ray_pass import Pass
from memo_ray.synthesis.recipe import UnitResult
from memo_ray.synthesis.settings import StepSettings
from memo_ray.synthesis.shelf import Shelf
from memo_ray.synthesis.units import candidate_rows, identifiers_of, unit_rows

Passes: TypeAlias = Callable[[str, SynthesisConfig, Engines, Place], Pass]
"""What makes a pass of a kind: `units` (Steps 1 to 4), `candidates` (Step 5) or `calibration`."""


def synthesise(
    config: SynthesisConfig,
    corpus: Artifact,
    model: Location | None,
    attempt: Attempt,
    progress: Progress,
    passes: Passes = Pass,
    opener: Opener = open_model,
) -> None:
    """Write `reflections`, `ledger` and `rejects`, with counts by step in the facts. Ray must be initialised.

    `model`: the generator's folder, which every node must reach; None for an endpoint. `passes` makes each pass, with
    another place for what it keeps; `opener` opens the generator. Raises GenerationError when the generator does not
    start or dies too often, and when too many of its replies are unusable.
    """
    # A million chunks are larger than what their pairs take, and each is read a few times.
    chunks = Shelf(lambda row: Chunk(**row), iterate_rows(corpus.path("chunks.parquet")))
    documents = corpus.rows("documents", Document, without=("text",))
    with Engines(config.generator, model, opener) as engines:

        def run(kind: str, rows: Iterable[dict[str, str]], note: str) -> UnitResult:
            return passes(kind, config, engines, attempt.progress).run(rows, note, progress)

        results = asked(config, chunks, documents, corpus.rows("groups", Group), run, attempt)
        starts = engines.starts()
    attempt.add_cost(engine_starts=len(starts), engine_start_seconds=round(sum(starts), 1))
    tables = assembly.assemble(results, config, chunks, documents)
    attempt.write("reflections", tables.reflections, Reflection)
    attempt.write("ledger", tables.ledger, LedgerEntry)
    attempt.write("rejects", tables.rejects, Reject)
    attempt.facts.update(tables.facts, units=results[0].rows, candidates=sum(made.rows for made in results[1:]))
    attempt.add_cost(**assembly.total_cost(results))


def asked(
    config: SynthesisConfig,
    chunks: Sequence[Chunk],
    documents: list[Document],
    groups: list[Group],
    run: Callable[[str, Iterable[dict[str, str]], str], UnitResult],
    attempt: Attempt,
) -> list[UnitResult]:
    """The results of Steps 1 to 4 and, unless it is left out, of Step 5. `run` runs a pass of a kind over its rows."""
    extracted = run("units", unit_rows(chunks, documents, config), "Steps 1 to 4")
    assembly.check_share([extracted], config, "Steps 1 to 4")
    if "connections" in config.without:
        return [extracted]
    offered, names = offers(chunks, extracted, StepSettings.load(config)), identifiers_of(documents)
    size = 1 if config.prompts == "sentence" else config.connections.batch_size
    rows = candidate_rows(proposals(groups, offered, config.connections, size), names)
    connected = run("candidates", rows, "Step 5")
    assembly.check_share([connected], config, "Step 5")
    if config.connections.calibration.groups:
        rows = candidate_rows(sample_candidates(groups, offered, config.connections, size), names)
        calibrated = run("calibration", rows, "all pairs of a sample")
        attempt.add_cost(**calibrated.cost)
        attempt.facts["calibration"] = kept(calibrated.pairs, groups, offered, config.connections, size).facts()
    return [extracted, connected]


def offers(chunks: Iterable[Chunk], extracted: UnitResult, settings: StepSettings) -> dict[str, list[Pair]]:
    """The pairs of Steps 1 to 4 that Step 5 may connect, by chunk."""
    pairs: dict[str, list[Pair]] = {chunk.chunk_id: [] for chunk in chunks}
    for pair in (pair for pair in extracted.pairs if pair.split == "train"):
        pairs[pair.chunk_ids[0]].append(pair)
    return {chunk_id: connections.offered(found, settings) for chunk_id, found in pairs.items()}
