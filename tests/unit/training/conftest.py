"""One process as a whole group of workers, and the training loop on a few reflections."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from memo_ray.artifacts.place import Place, open_place
from memo_ray.config.training import TrainingConfig
from memo_ray.rows import Reflection
from memo_ray.training.checkpoints import History, newest_state
from memo_ray.training.preparation import prepare

Run = Callable[..., tuple[History, Place | None]]


def reflections(count: int = 13) -> list[Reflection]:
    return [
        Reflection(
            f"r{n}", f"Who kept the lighthouse in year {n}?", "The harbour master " * (n % 4 + 1), "direct", "train"
        )
        for n in range(count)
    ]


@pytest.fixture(scope="session")
def process_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Once a process: DeepSpeed keeps the groups that it has made."""
    os.environ.update(DS_ACCELERATOR="cpu", RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")  # what Ray Train sets
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path_factory.mktemp('dist')}/s", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture
def settings() -> Callable[..., TrainingConfig]:
    """A small exact recipe, with changes."""

    def make(**changes: Any) -> TrainingConfig:
        small = {
            "epochs": 2, "reflections_per_step": 4, "learning_rate": 3e-3, "warmup_ratio": 0.3,
            "max_sequence_length": 256, "precision": "fp32", "gradient_checkpointing": False, "weight_decay": 0.1,
            "max_grad_norm": 0.5, "state_every_s": 3600,
        }  # fmt: skip
        return TrainingConfig(**small | changes)

    return make


@pytest.fixture
def run(process_group: None) -> Run:
    """Train in this process: (config, base, folder, resume, leave_after) → the history, and the newest state.

    `leave_after`: so many steps, after which the machine is about to go.
    """

    def train_here(
        config: TrainingConfig, base: Path, folder: Path | str, resume: Place | None = None, leave_after: int = 0
    ) -> tuple[History, Place | None]:
        from memo_ray.training.job import Job
        from memo_ray.training.loop import train

        progress = open_place(folder)
        with progress.storing("examples") as examples:
            counts = prepare(config, reflections(), base, examples)
        asked = itertools.count(1)
        job = Job(config, base, progress, counts["pad"], leaving=lambda: next(asked) == leave_after)
        return train(job, resume), newest_state(job.states)

    return train_here
