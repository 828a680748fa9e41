"""Measures what a stage holds of the Ray cluster while it runs, and ends it when the run's limit is reached.

In go the resources of the cluster, looked at once a second; out come `gpu_seconds` and `cpu_seconds`: how many were
in use, times the time. On a cluster that several runs share at once these are all of them: Ray does not say whose.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import RayError

from memo_ray.accounts import HELD, Account, priced
from memo_ray.artifacts.store import Attempt
from memo_ray.errors import SpendingLimitReached, StoreError

LOOK_S = 1.0
KEEP_S = 30.0
"""Between two writings of what was spent: what a kill can lose."""
RESOURCES = dict(zip(HELD, ("GPU", "CPU"), strict=True))
RECORDED = (*HELD, "input_tokens", "output_tokens", "money")


class Meter(threading.Thread):
    """Adds up what the cluster has in use, and interrupts this process, as Ctrl-C would, at the run's limit."""

    def __init__(
        self,
        account: Account,
        stage: str,
        look_s: float = LOOK_S,
        worked: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        super().__init__(name="meter", daemon=True)
        self.held: dict[str, float] = dict.fromkeys(HELD, 0.0)
        self.reached = ""
        self._account, self._stage, self._look_s, self._worked = account, stage, look_s, worked
        self.attempt = uuid.uuid4().hex
        self._before = account.spent()
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until `end` is called."""
        looked = kept = time.monotonic()
        while not self._ended.wait(self._look_s):
            now = time.monotonic()
            for key, amount in in_use().items():
                self.held[key] += amount * (now - looked)
            self._worked(now - looked)
            looked = now
            so_far = self.so_far()
            if now - kept > KEEP_S:
                kept = now
                self.keep(so_far)
            total = {key: self._before[key] + so_far.get(key, 0.0) for key in (*HELD, "money")}
            if text := self._account.reached(total):
                self.reached = text
                os.kill(os.getpid(), signal.SIGINT)
                return

    def so_far(self) -> dict[str, float]:
        """What this attempt has held, and what that costs."""
        money = priced(self._account.config, self._stage, self.held)
        return {**self.held, **({} if money is None else {"money": money})}

    def keep(self, amounts: dict[str, float]) -> None:
        """Write it down; an outage of the store must not end the work, and the next time writes all of it."""
        try:
            self._account.keep(self.attempt, amounts)
        except (StoreError, OSError):
            return

    def end(self) -> None:
        """Look no more."""
        self._ended.set()
        self.join()


def in_use() -> dict[str, float]:
    """GPUs and cores of the cluster that are taken now; nothing while Ray cannot say."""
    try:
        there, free = ray.cluster_resources(), ray.available_resources()
    except (RayError, ConnectionError, RuntimeError):
        return {}
    return {key: max(0.0, there.get(name, 0.0) - free.get(name, 0.0)) for key, name in RESOURCES.items()}


@contextmanager
def metered(
    account: Account,
    stage: str,
    attempt: Attempt,
    look_s: float = LOOK_S,
    worked: Callable[[float], None] = lambda seconds: None,
) -> Iterator[None]:
    """Put seconds held, tokens and money of the block into the attempt's costs and the run's account; `worked` is told
    of the seconds at every look.

    Raises SpendingLimitReached when the run's limit is reached, before the block or in it.
    """
    account.check()
    meter = Meter(account, stage, look_s, worked)
    meter.start()
    try:
        try:
            with interruptible():
                yield
        finally:
            meter.end()
            cost = attempt.cost | {key: round(value, 3) for key, value in meter.held.items()}
            cost = dict.fromkeys(("input_tokens", "output_tokens"), 0) | cost
            money = priced(account.config, stage, cost)
            attempt.cost = cost | ({} if money is None else {"money": money})
            meter.keep({key: attempt.cost[key] for key in RECORDED if key in attempt.cost})
    except KeyboardInterrupt:
        if meter.reached:
            raise SpendingLimitReached(meter.reached) from None
        raise


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT interrupt the block also in a process that was started to ignore it, as a script's background
    processes are."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if not ignored or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
