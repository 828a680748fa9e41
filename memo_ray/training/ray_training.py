"""The training stage on Ray Train: starts the workers, restarts them after a failure, and collects the memory.

Reflections and a base model go in; a Hugging Face folder for every epoch and the losses come out. Everything that
a later try needs lies in the attempt's progress, on a disk that all nodes reach or on S3. State is kept there by the
workers themselves and not by Ray Train, whose list of checkpoints is neither complete after a kill nor readable by
another version of Ray.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Callable, Mapping
from typing import Any

import ray
import ray.train
import ray.train.collective
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from memo_ray.artifacts.local import LocalPlace
from memo_ray.artifacts.place import Location, Place, local_folder, open_place
from memo_ray.artifacts.store import Attempt
from memo_ray.config.training import TrainingConfig
from memo_ray.errors import MemoError, TrainingError
from memo_ray.models.ray_limits import largest_cluster
from memo_ray.progress import Progress, unheard
from memo_ray.rows import Reflection
from memo_ray.training.blame import OutOfMemory, failure_of
from memo_ray.training.checkpoints import History, kept_epochs, newest_state
from memo_ray.training.deepspeed import environment
from memo_ray.training.facts import facts_of
from memo_ray.training.job import TOLD
from memo_ray.training.preparation import prepare

RUN = "ray-train"
"""Ray Train's own folder in the progress: nothing in it is needed again."""

TOO_LARGE = "too-large"
"""What a worker that is out of memory says, for those that are started after it."""

LOOK_S = {True: 0.5, False: 5.0}
"""Seconds between looks at what the workers tell: on a disk, and elsewhere."""
log = logging.getLogger(__name__)


def train_memory(
    config: TrainingConfig,
    reflections: list[Reflection],
    base: Location,
    attempt: Attempt,
    on_progress: Progress = unheard,
) -> None:
    """Fine-tune `base` on the `train` rows of `reflections` (paper, Section 4.2); needs ray to be initialised.

    Writes the folders `epoch-1` to `epoch-N` (the last `keep_epochs` of them), those of study last, and the facts
    (losses, tokens, speed). Resumes from `attempt.progress`. Raises TrainingError with the remedy for what a user can
    mend.
    """
    chosen = [row for row in reflections if row.split == "train"]
    if not chosen:
        raise TrainingError("training: there are no reflections to train on; look at the rejects of synthesis")
    gpu = check_room(config)
    with attempt.progress.storing("examples") as folder:
        counts = prepare(config, chosen, local_folder(base), folder)
    pad, positions = counts.pop("pad"), counts.pop("positions")
    tell_of_losses(counts, config, positions)
    history = History.load(attempt.progress)
    if history is None or not history.ended(config):
        history = run_workers(config, base, attempt.progress, pad, gpu, on_progress)
    for epoch in kept_epochs(config, len(history.epochs)):
        attempt.adopt(f"models/epoch-{epoch}", f"epoch-{epoch}")
    keep_curves(attempt)
    attempt.facts |= facts_of(history) | counts
    attempt.add_cost(trained_tokens=attempt.facts["tokens"])


def tell_of_losses(counts: dict[str, Any], config: TrainingConfig, positions: int | None) -> None:
    """Say what the longest length costs, before hours are spent. `positions`: that the base has at most."""
    lost = []
    if counts["truncated"]:
        lost.append(f"{counts['truncated']} of {counts['reflections']} answers are cut")
    if counts["left_out"]:
        lost.append(f"{counts['left_out']} reflections are left out because their question leaves no room")
    if lost:
        beyond = f", but the base has {positions} positions" if positions and counts["longest"] > positions else ""
        log.warning(
            "training.max_sequence_length: at %s tokens %s; %s would hold all of them%s",
            config.max_sequence_length, " and ".join(lost), counts["longest"], beyond,
        )  # fmt: skip


def keep_curves(attempt: Attempt) -> None:
    """Put what a tracker kept as files beside the artefact, as `tracking`: it holds times of day, so it is no part."""
    curves = attempt.progress.nearby("tracking")
    if curves.is_dir():
        with open_place(attempt.progress.url.rpartition("/")[0]).storing("tracking") as folder:
            shutil.copytree(curves, folder, dirs_exist_ok=True)


def check_room(config: TrainingConfig) -> bool:
    """Whether the workers get GPUs. Raises TrainingError when the cluster can never hold them."""
    largest = largest_cluster()
    gpu = largest.get("GPU", 0) >= 1
    kind, needed = needed_of(config, gpu=gpu)
    if needed > largest.get(kind, 0):
        keys = "training.workers" if gpu else "training.workers or training.cpus_per_worker"
        raise TrainingError(
            f"training.workers: {config.workers} of them need {needed} {kind}s, but the cluster has "
            f"{largest.get(kind, 0):.0f}; lower {keys}"
        )
    return gpu


def needed_of(config: TrainingConfig, *, gpu: bool) -> tuple[str, int]:
    """The resource that all workers take together, and how much of it."""
    return ("GPU", config.workers) if gpu else ("CPU", config.workers * config.cpus_per_worker)


def run_workers(
    config: TrainingConfig, base: Location, progress: Place, pad: int, gpu: bool, on_progress: Progress
) -> History:
    """Train to the last epoch and return the history. Raises TrainingError when the workers cannot.

    Workers that leave because a machine goes are started again on those that stay, or on its successor.
    """
    for earlier in (TOO_LARGE, TOLD):
        progress.remove(earlier)
    job = {"config": config.model_dump_json(), "base": base, "progress": progress, "pad": pad, "gpu": gpu}
    while True:
        try:
            told = Told(progress, on_progress, needed_of(config, gpu=gpu))
            outcome = fit(trainer_of(config, job), told).return_value or {}
        except ray.train.TrainingFailedError as error:
            line = progress.get(TOO_LARGE)  # with max_failures: 0 nobody has started again to tell
            raise failure_of(error, config, gpu=gpu) if line is None else TrainingError(line.decode()) from error
        if "failed" in outcome:
            raise TrainingError(outcome["failed"])
        if "left" not in outcome:
            break
        log.warning("training: a machine is about to stop; saved after %d steps, starting again", outcome["left"])
    history = History.load(progress)
    if history is None:
        raise TrainingError(f"training: {progress.url}: holds no history; all nodes must reach it (`root:`)")
    return history


def trainer_of(config: TrainingConfig, job: dict[str, Any]) -> TorchTrainer:
    """A run of Ray Train that knows nothing of an earlier one."""
    progress, gpu = job["progress"], job["gpu"]
    progress.remove(RUN)
    filesystem, path = progress.arrow()
    return TorchTrainer(
        train_worker,
        train_loop_config=job,
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config.workers,
            use_gpu=gpu,
            resources_per_worker=None if gpu else {"CPU": config.cpus_per_worker},
        ),
        run_config=RunConfig(
            name=RUN,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=FailureConfig(max_failures=config.max_failures),
            worker_runtime_env={"env_vars": environment(gpu=gpu, cpus=config.cpus_per_worker)},
            logging_config=ray.train.LoggingConfig(log_level="WARNING"),
        ),
    )


def train_worker(job: dict[str, Any]) -> dict[str, Any]:
    """What every Ray Train worker runs. What a user must mend is returned, since a restart would only repeat it."""
    from memo_ray.training.job import Job
    from memo_ray.training.loop import train

    config, progress = TrainingConfig.model_validate_json(job["config"]), job["progress"]
    threads = None if job["gpu"] else config.cpus_per_worker

    def work() -> dict[str, Any]:
        work = Job(config, local_folder(job["base"]), progress, job["pad"], threads, node_goes)
        # One answer for all: a worker of a group that was just killed may still be writing.
        resume = ray.train.collective.broadcast_from_rank_zero(newest_state(work.states))
        history = train(work, resume, lambda epoch: ray.train.report({"loss": epoch.loss}))
        return {} if history.ended(config) else {"left": history.steps}

    return outcome_of(work, progress)


def node_goes() -> bool:
    """Whether a machine of this group of workers was told to stop (a spot notice, SIGTERM to its `ray start`)."""
    # The public call, `ray.train.get_preemption_info`, is a barrier through an actor; the loop agrees by itself.
    from ray.train.v2._internal.execution.context import get_train_context

    return get_train_context().preemption_context.preemption_info is not None


def outcome_of(work: Callable[[], dict[str, Any]], progress: Place) -> dict[str, Any]:
    """Do a worker's `work`, which gives the outcome; what a user must mend is told in it.

    A worker out of memory must fail, or the others wait for it for ever, and Ray Train then starts all of them again.
    What it leaves in the progress ends each of these at once.
    """
    told = ray.train.collective.broadcast_from_rank_zero(progress.get(TOO_LARGE))
    if told is not None:
        return {"failed": told.decode()}
    try:
        return work()
    except MemoError as error:
        return {"failed": str(error)}
    except OutOfMemory as error:
        progress.put(TOO_LARGE, str(error).encode())
        raise


def fit(trainer: TorchTrainer, told: Told) -> ray.train.Result:
    """Run `trainer` to the end and tell its progress meanwhile. Raises what Ray Train raises.

    Beside the main thread, because Ray Train would otherwise keep Ctrl-C to itself, for good.
    """
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(trainer.fit())
        except ray.train.TrainingFailedError as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_S[isinstance(told.progress, LocalPlace)])
        told.look()
        told.look_at_cluster(ray.cluster_resources())
    if not outcome:
        raise TrainingError("training: Ray Train ended without a result; look at the logs of the run")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


class Told:
    """What the workers leave in the progress, handed on when it is new: each note, and a log line an epoch.

    `needed`: a resource of the cluster, and how much of it all workers take.
    """

    def __init__(self, progress: Place, on_progress: Progress, needed: tuple[str, int]) -> None:
        self.progress, self.on_progress, self.needed = progress, on_progress, needed
        self.waits = False
        self.note: dict[str, Any] = {}
        history = History.load(progress)
        self.epochs = len(history.epochs) if history else 0

    def look(self) -> None:
        """Hand on what is new."""
        content = self.progress.get(TOLD)
        if content is None:
            return
        note = json.loads(content)
        if note != self.note:
            if self.note and len(note["resumed_from"]) > len(self.note["resumed_from"]):
                log.warning("training: a worker was lost; all of them went on from step %d", note["resumed_from"][-1])
            self.note = note
            self.on_progress(note["done"], note["total"], note["note"])
        history = History.load(self.progress)
        for epoch in history.epochs[self.epochs :] if history else []:
            self.epochs += 1
            name = f"epoch {self.epochs}" + (" (study)" if epoch.study else "")
            log.info("%s: loss %.4f, %.0f tokens/s", name, epoch.loss, epoch.tokens / epoch.seconds)

    def look_at_cluster(self, there: Mapping[str, float]) -> None:
        """Say once that the cluster has become too small for the workers: Ray Train waits for machines in silence."""
        kind, needed = self.needed
        waits = there.get(kind, 0) < needed
        if waits and not self.waits:
            log.warning(
                "training: waits for machines: its workers need %d %ss, the cluster has %.0f; add some, or stop and "
                "lower training.workers, it resumes with fewer", needed, kind, there.get(kind, 0),
            )  # fmt: skip
        self.waits = waits
