"""Whether a training fits its GPUs, before anything long starts: for `memo plan`, and before a run."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from memo_ray import machine
from memo_ray.config.training import TrainingConfig
from memo_ray.errors import EnvironmentProblem

if TYPE_CHECKING:
    from memo_ray.training.fit import Fit
    from memo_ray.workspace import Workspace


def training_fit(config: TrainingConfig, gpu_bytes: int | None = None) -> Fit | None:
    """What training takes of a GPU of `gpu_bytes` (none: of one that is large enough).

    None when the base's shape cannot be had without its weights.
    """
    from memo_ray.training.fit import fit
    from memo_ray.training.shapes import known_config

    shape = known_config(config.base, config.revision)
    return None if shape is None else fit(shape, config, gpu_bytes or 1 << 60)


def check_fit(run: Workspace) -> None:
    """Say with which settings a run's training would fit this machine's GPUs, if it does not.

    Raises EnvironmentProblem when weights, gradients and optimiser alone are too large; activations are an estimate,
    so of those it only warns. Nothing is looked at without GPUs, on a cluster, and once all memories are trained.
    """
    trained = all(run.finished(f"training-{corpus.name}") for corpus in run.config.corpora)
    memory = min(machine.gpu_memory(), default=0)
    if trained or not memory or os.environ.get("RAY_ADDRESS"):
        return
    found = training_fit(run.config.training, memory)
    if found is None or found.fits:
        return
    if found.certain > found.room:
        raise EnvironmentProblem(f"training: {found}")
    run.console.say(f"training: {found} (an estimate)")


def as_text(found: Fit | None, gpu_bytes: int | None) -> str:
    """A line for `memo plan`."""
    if found is None:
        return "training: the base's shape cannot be had here, so what it takes is not known"
    if gpu_bytes is None:
        return f"training: {found.footprint}; with --gpu-memory GIB, whether it fits"
    return f"training: {found}"


def as_json(found: Fit | None) -> dict[str, Any] | None:
    """The same for `--json`: bytes by what takes them, and what would fit."""
    if found is None:
        return None
    return {**asdict(found.footprint), "total": found.footprint.total, "fits": found.fits, "remedies": found.remedies}
