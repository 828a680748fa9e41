"""What every stage of every run comes to, as Ray metrics: for Prometheus, while its driver lives.

Ray's agents keep counters for as long as a node lives, so what the last driver has counted is still there.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress

import ray
from ray.util.metrics import Counter, Gauge

LABELS: tuple[str, ...] = ("run", "stage", "corpus")
STATES = {"running": 1, "finished": 2, "failed": 3}
"""Values of the gauge `memo_stage_state`."""

COUNTED: dict[str, tuple[str, tuple[str, ...]]] = {
    "seconds": ("Seconds for which stages were at work", ()),
    "rows": ("Rows of finished artefacts, by table", ("table",)),
    "failures": ("Attempts that failed, by the error's type", ("reason",)),
}
"""Each a counter `memo_stage_NAME`: what it says, and its labels beside LABELS."""


def connected() -> bool:
    """Whether there is a cluster to count in."""
    return ray.is_initialized()


def from_zero(counter: Counter, labels: Mapping[str, str]) -> None:
    """Have a series begin at 0: `rate` and `increase` do not see the first value of one. `inc` refuses 0."""
    counter._record(0.0, dict(labels))


class StageMetrics:
    """The metrics of one attempt at a stage, in the driver. Needs a connection to Ray."""

    def __init__(self, run: str, stage: str, corpus: str) -> None:
        self._labels = dict(zip(LABELS, (run, stage, corpus), strict=True))
        self._state = Gauge("memo_stage_state", "1 running, 2 finished, 3 failed", LABELS)
        self._counters = {
            name: Counter(f"memo_stage_{name}", text, LABELS + more) for name, (text, more) in COUNTED.items()
        }
        from_zero(self._counters["seconds"], self._labels)
        from_zero(self._counters["failures"], self._labels | {"reason": ""})
        self.state("running")

    def state(self, name: str) -> None:
        """One of STATES."""
        self._state.set(STATES[name], self._labels)

    def worked(self, seconds: float) -> None:
        """So much more time."""
        self._counters["seconds"].inc(seconds, self._labels)

    def finished(self, rows: Mapping[str, int]) -> None:
        """The artefact is there, with so many rows of each table."""
        for table, count in rows.items():
            if count:
                self._counters["rows"].inc(count, self._labels | {"table": table})
        self.state("finished")

    def failed(self, reason: str) -> None:
        """The attempt has ended with an error of this type."""
        self._counters["failures"].inc(1, self._labels | {"reason": reason})
        self.state("failed")


def count_failure(run: str, stage: str, error: Exception) -> None:
    """Count what has ended a Ray job outside any attempt: a config that is refused, a package that its node lacks.

    Nothing outside a job, and nothing that goes wrong here, is told: the job says itself why it ends.
    """
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:
        return
    with suppress(Exception):
        ray.init(log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
        StageMetrics(run, stage, "").failed(type(error).__name__)
        ray.shutdown()  # sends what was counted
