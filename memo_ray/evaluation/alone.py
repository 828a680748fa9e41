"""Systems asked alone, one after another, on an engine that is replaced when it is lost; what is answered is kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from memo_ray.artifacts.place import Location, Place, local_folder
from memo_ray.artifacts.tables import read_rows, write_rows
from memo_ray.config.run import RunConfig
from memo_ray.errors import EngineDied
from memo_ray.evaluation.asked import Asked
from memo_ray.evaluation.ray_evaluation import Asking, ask_alone
from memo_ray.models.ray_engine import Engine
from memo_ray.progress import Progress
from memo_ray.rows import Answer, Reject, Transcript

LOG = logging.getLogger(__name__)
ENGINE_STARTS = 3
"""Engines started in all, when each but the last died, most often with its machine."""


@dataclass
class Evaluated:
    """The rows of the evaluation's tables, and engines started on the way."""

    answers: list[Answer] = field(default_factory=list)
    transcripts: list[Transcript] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    engine_starts: int = 0


def ask_systems(
    config: RunConfig,
    base: Location,
    systems: Mapping[str, Location],
    asked: Sequence[Asked],
    kept: Place,
    progress: Progress,
) -> Evaluated:
    """Ask `systems` alone; the engine starts on `base`, and again when it or its machine is lost.

    What `kept` holds of an earlier try is not asked again. Raises EngineDied when that happens too often.
    """
    total, before, starts = len(systems) * len(asked), list(systems), 0

    def count(system: str, done: int, of: int) -> None:
        progress(before.index(system) * of + done, total, f"asking {system}")

    while left := {system: path for system, path in systems.items() if kept.location(put_away(system)) is None}:
        starts += 1
        try:
            with Engine.start(config.evaluation.engine, base) as engine:
                loaded = base
                for system, path in left.items():
                    most = config.evaluation.max_tokens
                    asking: Asking = ask_alone(engine, {system: path}, asked, most, count, loaded=loaded)
                    put_away_answers(kept, system, asking)
                    loaded = path
        except EngineDied as death:
            if starts >= ENGINE_STARTS:
                raise
            LOG.warning("evaluation: %s; starting another", death)
    found = Evaluated(engine_starts=starts)
    for system in systems:
        location = kept.location(put_away(system))
        assert location is not None  # stored just above, or by an earlier try
        found.answers += read_rows(local_folder(location) / "answers.parquet", Answer)
        found.rejects += read_rows(local_folder(location) / "rejects.parquet", Reject)
    return found


def put_away_answers(kept: Place, system: str, asking: Asking) -> None:
    """Keep a system's answers for a later try."""
    with kept.storing(put_away(system)) as folder:
        write_rows(folder / "answers.parquet", asking.answers, Answer)
        write_rows(folder / "rejects.parquet", asking.rejects, Reject)


def put_away(system: str) -> str:
    """The name of the folder with a system's answers, which is there once all of them are."""
    return system.replace("/", "_")
