"""A machine that is taken away while it trains: state at once, then on to its successor, and the same losses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from memo_ray.artifacts.place import open_place
from memo_ray.training.checkpoints import History
from tests.local_cluster import local_cluster
from tests.ray.test_training import attempt_in, config, losses_of, reflections, train, wait_for

pytestmark = pytest.mark.slow

GRACE_S = 60
EPOCHS, STEPS = 60, 240
os.environ["RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S"] = "0.5"  # how often Ray Train looks for notices; 5 s otherwise


@pytest.fixture
def head() -> Iterator[str]:
    """The address of a cluster that has no cores yet."""
    with local_cluster(num_cpus=0) as address:
        yield address


class Machine:
    """A node of one core, which a `ray start` of its own holds."""

    def __init__(self, head: str) -> None:
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={head}", "--block"]
        command = [*start, "--num-cpus=1", "--object-store-memory=100000000"]
        environment = os.environ | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(GRACE_S)}
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def is_noticed(self) -> None:
        """What a cloud or Kubernetes does before it takes a machine away."""
        self.process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Wait for its end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(GRACE_S + 60)


def test_a_spot_notice_saves_at_once_and_the_successor_goes_on(head: str, tiny_model: Path, tmp_path: Path) -> None:
    from memo_ray.training.ray_training import train_memory

    machines = [Machine(head)]
    noticed: list[float] = []

    def told(done: int, _total: int, _note: str) -> None:
        if done > STEPS // 4 and not noticed:
            noticed.append(time.monotonic())
            machines[0].is_noticed()
            machines.append(Machine(head))

    try:
        import ray

        wait_for(lambda: ray.cluster_resources().get("CPU"))
        whole = train(config(epochs=EPOCHS, state_every_s=3600), tiny_model, tmp_path / "whole")
        attempt = attempt_in(tmp_path / "noticed")
        train_memory(
            config(epochs=EPOCHS, state_every_s=3600, max_failures=0), reflections(), tiny_model, attempt, told
        )
    finally:
        for machine in machines:
            machine.end()
    (after,) = attempt.facts["resumed_from"]
    assert STEPS // 4 < after < STEPS, "nothing but the notice saved state"
    assert losses_of(attempt.progress) == losses_of(whole.progress)
    history = History.load(open_place(tmp_path / "noticed" / "progress"))
    assert history is not None and history.resumed_from == [after]
