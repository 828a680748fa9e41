"""Drills of training: the tiny model on one of two machines, state and models on S3, state once a second."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from pathlib import Path

from memo_ray.artifacts.store import Artifact, Store
from tests.faults.drill import Fault, Outcome, told
from tests.faults.fleet import Machine, fleet, wait_for
from tests.metadata_service import MetadataService
from tests.ray.test_training import config, reflections
from tests.tiny_model import make

WORKER = "RayTrainWorker"
EPOCHS, STEPS = 60, 240
STATE_S = 1.0
NOTICE_S = 60.0
"""From EC2's notice to the machine's end: of EC2's own two minutes half."""
os.environ["RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S"] = "0.5"  # how often Ray Train looks for notices; 5 s otherwise


def trained(bucket: str, base: Path, state_every_s: float) -> Artifact:
    """A finished training in `bucket`."""
    from memo_ray.training.ray_training import train_memory

    store = Store(bucket)
    with store.attempt("training", "training", "1" * 64, {}, {}) as attempt:
        train_memory(config(epochs=EPOCHS, state_every_s=state_every_s), reflections(), base, attempt)
    made = store.find("training", "1" * 64)
    assert made is not None
    return made


def drilled(fault: str, strike: Callable[[Machine], object], state_every_s: float = STATE_S) -> Outcome:
    """A training; `strike` gets the machine that its worker runs on."""
    with fleet(2, cpus=1) as machines:
        (machines.work / "base").mkdir()
        base = make(machines.work / "base")
        whole = trained(machines.s3.bucket(), base, state_every_s)
        bucket = machines.s3.bucket()
        progress = Store(bucket).place.child(f"training/{'1' * 16}/progress")

        def now() -> None:
            (hit,) = [machine for machine in machines.machines if machine.runs(WORKER)]
            strike(hit)

        def done() -> int:
            return told(progress, "told.json", "done")

        falls = Fault(lambda: done() >= STEPS // 4, done, now)
        made = trained(bucket, base, state_every_s)
        recovery = falls.outcome()
        before, after = (artifact.record.facts for artifact in (whole, made))
        resumed = after["resumed_from"]
        assert resumed, "nothing was resumed"
        steps = len(after["loss_by_step"])
        return Outcome("training", fault, max(0, STEPS - steps), max(0, steps - STEPS),
                       before["loss_by_step"] == after["loss_by_step"], round(recovery, 1),
                       max(0, falls.struck_at - resumed[0]), STEPS, "steps")  # fmt: skip


def taken_back(machine: Machine) -> None:
    """EC2 takes a machine back: its metadata service says so, and the machine ends NOTICE_S later. By then its worker
    must have left it."""
    service = MetadataService(machine.host)
    machine.look_for_notices(service.url)
    wait_for(lambda: service.asked)
    service.notice(NOTICE_S)
    end = threading.Timer(NOTICE_S, machine.kill)
    end.start()
    wait_for(lambda: not machine.runs(WORKER), NOTICE_S)
    service.end()
    assert end.is_alive(), "its worker was on it to the end"


DRILLS = {
    "training-node": functools.partial(drilled, "a worker node is killed", Machine.kill),
    "training-network": functools.partial(drilled, "a node's network is cut", Machine.cut),
    "training-notice": functools.partial(drilled, "a spot notice, 20 s", Machine.notice),
    "training-spot": functools.partial(drilled, f"EC2's spot notice, {NOTICE_S:.0f} s", taken_back, state_every_s=3600),
}
