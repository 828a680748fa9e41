"""What all workers of a training share, and where its parts lie in the place that survives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from memo_ray.artifacts.place import Place, local_folder
from memo_ray.config.training import TrainingConfig
from memo_ray.errors import TrainingError
from memo_ray.training.checkpoints import EPOCH, MODELS

TOLD = "told.json"
"""The object of the progress with how far training is, in steps."""


def never() -> bool:
    """Nobody takes the machine away."""
    return False


@dataclass(frozen=True)
class Job:
    """`progress`: the place that survives the run, which all workers reach. `pad`: the id of a padding token.

    `progress` holds `examples` (the tokenised reflections), the model folders, and below `states` what a run resumes
    from. `leaving` says whether this worker's machine is about to be taken away.
    """

    config: TrainingConfig
    base: Path
    progress: Place
    pad: int
    threads: int | None = None
    leaving: Callable[[], bool] = never

    @property
    def states(self) -> Place:
        """Where the resumable states lie."""
        return self.progress.child("states")

    def folder(self, name: str) -> Path:
        """The stored folder `name` of the progress on this machine."""
        found = self.progress.location(name)
        if found is None:
            raise TrainingError(f"training: {self.progress.url}: holds no {name}; all nodes must reach it (`root:`)")
        return local_folder(found)

    @property
    def name(self) -> str:
        """What trackers call this training: the artefact's name and the beginning of its fingerprint."""
        *_, artifact, fingerprint, _ = ["", "memory", *self.progress.url.split("/")]
        return f"{artifact}-{fingerprint[:8]}"

    @property
    def tracking(self) -> Path:
        """The folder of what a tracker keeps as files: curves outlive an attempt, and nothing is resumed from them."""
        return self.progress.nearby("tracking")


def model_name(epoch: int) -> str:
    """The name of the model folder after `epoch` (from 1) in the progress."""
    return f"{MODELS}/{EPOCH}{epoch}"
