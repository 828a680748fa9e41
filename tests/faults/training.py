"""Drills of training: the tiny model on one of two machines, state and models on S3, state once a second."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path

from memo_ray.artifacts.store import Artifact, Store
from tests.faults.drill import Fault, Outcome, told
from tests.faults.fleet import Machine, fleet
from tests.ray.test_training import config, reflections
from tests.tiny_model import make

WORKER = "RayTrainWorker"
EPOCHS, STEPS = 60, 240
STATE_S = 1.0
os.environ["RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S"] = "0.5"  # how often Ray Train looks for notices; 5 s otherwise


def trained(bucket: str, base: Path) -> Artifact:
    """A finished training in `bucket`."""
    from memo_ray.training.ray_training import train_memory

    store = Store(bucket)
    with store.attempt("training", "training", "1" * 64, {}, {}) as attempt:
        train_memory(config(epochs=EPOCHS, state_every_s=STATE_S), reflections(), base, attempt)
    made = store.find("training", "1" * 64)
    assert made is not None
    return made


def drilled(fault: str, strike: Callable[[Machine], object]) -> Outcome:
    """A training; `strike` gets the machine that its worker runs on."""
    with fleet(2, cpus=1) as machines:
        (machines.work / "base").mkdir()
        base = make(machines.work / "base")
        whole = trained(machines.s3.bucket(), base)
        bucket = machines.s3.bucket()
        progress = Store(bucket).place.child(f"training/{'1' * 16}/progress")

        def now() -> None:
            (hit,) = [machine for machine in machines.machines if machine.runs(WORKER)]
            strike(hit)

        def done() -> int:
            return told(progress, "told.json", "done")

        falls = Fault(lambda: done() >= STEPS // 4, done, now)
        made = trained(bucket, base)
        recovery = falls.outcome()
        before, after = (artifact.record.facts for artifact in (whole, made))
        resumed = after["resumed_from"]
        assert resumed, "nothing was resumed"
        steps = len(after["loss_by_step"])
        return Outcome("training", fault, max(0, STEPS - steps), max(0, steps - STEPS),
                       before["loss_by_step"] == after["loss_by_step"], round(recovery, 1),
                       max(0, falls.struck_at - resumed[0]), STEPS, "steps")  # fmt: skip


DRILLS = {
    "training-node": functools.partial(drilled, "a worker node is killed", Machine.kill),
    "training-network": functools.partial(drilled, "a node's network is cut", Machine.cut),
    "training-notice": functools.partial(drilled, "a spot notice, 20 s", Machine.notice),
}
