"""Curves of a training that is under way, through one interface: TensorBoard, MLflow or Weights & Biases.

Only the first worker tracks. A tracker gets numbers alone: no text of a reflection ever leaves through it.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from memo_ray.artifacts.place import Place
from memo_ray.config.training import TrackingConfig
from memo_ray.errors import TrainingError

RUN_ID = "tracked-run"
"""The object of the progress with the id that a service gave the run."""
STEP = "step"
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One optimiser step. Speed, MFU and padding are those of all steps since the epoch began.

    `loss`: mean over the step's answer tokens. `gradient_norm`: before clipping. `mfu`: share of the processor's peak
    that went into tokens of examples, without recomputation and padding; None where the peak is not known.
    `memory_gb`: most that the first worker held at once. `pad_share`: share of the computed tokens that only pad.
    """

    loss: float
    learning_rate: float
    gradient_norm: float | None
    tokens_per_second: float
    mfu: float | None
    memory_gb: float
    pad_share: float


class Tracker(Protocol):
    """What the training loop tells while it goes on. Steps and epochs are counted from 1."""

    def step(self, step: int, metrics: StepMetrics) -> None:
        """The figures of one optimiser step."""
        ...

    def epoch(self, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """The figures of a whole epoch, the last step of which was `step`."""
        ...

    def close(self) -> None:
        """Write what is not yet written; nothing is told afterwards."""
        ...


class Untracked:
    """Keeps nothing."""

    def step(self, step: int, metrics: StepMetrics) -> None:
        """Keep nothing."""

    def epoch(self, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Keep nothing."""

    def close(self) -> None:
        """Close nothing."""


class Scalars:
    """Hands every figure on by name to `write(numbers by name, step)`: what all the services below take.

    A service that fails is told of once and then left alone: curves are not worth a training.
    """

    def __init__(self, write: Callable[[dict[str, float], int], None], close: Callable[[], None]) -> None:
        self.write, self._close = write, close

    def step(self, step: int, metrics: StepMetrics) -> None:
        """Hand on `train/loss` and its like."""
        numbers = {f"train/{name}": value for name, value in asdict(metrics).items() if value is not None}
        self._tell(lambda: self.write(numbers, step))

    def epoch(self, epoch: int, step: int, metrics: Mapping[str, float]) -> None:
        """Hand on `epoch/loss` and its like, at the epoch's last step."""
        numbers = {f"epoch/{name}": value for name, value in metrics.items()} | {"epoch/number": epoch}
        self._tell(lambda: self.write(numbers, step))

    def close(self) -> None:
        """Close the service's run."""
        self._tell(self._close)

    def _tell(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:  # noqa: BLE001  # each service has errors of its own
            log.warning("training.tracking: %s; no curves from here on", first_line(error))
            self.write, self._close = lambda *_: None, lambda: None


@dataclass(frozen=True)
class Tracked:
    """The run that a tracker keeps curves of. `folder`: for what it keeps as files. `name`: what people see.

    `settings` are recorded with it. `step`: steps taken before a resumed run goes on; later ones of an earlier try are
    overwritten. `place`: where the service's own id of the run stands, so that a resumed one goes on with its curves.
    """

    folder: Path
    name: str
    settings: Mapping[str, Any]
    step: int
    place: Place

    @property
    def known(self) -> str | None:
        """The service's id of the run that is resumed; None for a new one."""
        kept = self.place.get(RUN_ID) if self.step else None
        return None if kept is None else kept.decode()

    def keep(self, run: str) -> None:
        """Note the service's id for a resumed run."""
        self.place.put(RUN_ID, run.encode())


def open_tracker(config: TrackingConfig, run: Tracked) -> Tracker:
    """The tracker that `training.tracking` names.

    Raises TrainingError when the service's package is not installed, or the service cannot be reached.
    """
    try:
        return OPENERS[config.to](config, run)
    except TrainingError:
        raise
    except Exception as error:  # each service has errors of its own
        raise TrainingError(
            f"training.tracking.to: {config.to} cannot be used ({first_line(error)}); check its address and key in the "
            "environment of the training nodes, or set training.tracking.to: none"
        ) from error


def first_line(error: Exception) -> str:
    """An error's kind and what it says first."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__


def _tensorboard(config: TrackingConfig, run: Tracked) -> Tracker:
    purge = run.step + 1 if run.step else None
    writer = _package("tensorboardX").SummaryWriter(str(run.folder / "memory"), purge_step=purge)
    writer.add_text("settings", "\n".join(f"    {key}: {value}" for key, value in run.settings.items()), run.step)

    def write(numbers: dict[str, float], at: int) -> None:
        for key, value in numbers.items():
            writer.add_scalar(key, value, at)

    return Scalars(write, writer.close)


def _mlflow(config: TrackingConfig, run: Tracked) -> Tracker:
    mlflow = _package("mlflow")
    mlflow.set_experiment(config.project)
    known = run.known
    begun = mlflow.start_run(run_id=known) if known else mlflow.start_run(run_name=run.name)
    if not known:
        run.keep(begun.info.run_id)
        mlflow.log_params({key: str(value)[:500] for key, value in run.settings.items()})
    return Scalars(lambda numbers, at: mlflow.log_metrics(numbers, step=at), mlflow.end_run)


def _wandb(config: TrackingConfig, run: Tracked) -> Tracker:
    run.folder.mkdir(parents=True, exist_ok=True)
    begun = _package("wandb").init(
        project=config.project, name=run.name, config=dict(run.settings), dir=str(run.folder), id=run.known,
        resume="allow",
    )  # fmt: skip
    run.keep(begun.id)
    # Its own count of steps may not go back, as ours does after a kill: ours is the axis of every curve instead.
    begun.define_metric(STEP)
    begun.define_metric("*", step_metric=STEP)
    return Scalars(lambda numbers, at: begun.log(numbers | {STEP: at}), begun.finish)


def _none(config: TrackingConfig, run: Tracked) -> Tracker:
    return Untracked()


OPENERS: dict[str, Callable[[TrackingConfig, Tracked], Tracker]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
    "none": _none,
}
"""By the values of `training.tracking.to`."""


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise TrainingError(
            f"training.tracking.to: the package {name} is not installed on the training nodes; install it, or set "
            "training.tracking.to: none"
        ) from None
