"""What a drill is: a fault while work goes on, what it cost, and the row of the table that it becomes."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from tests.faults.fleet import wait_for

SETTLED_S = 0.5
"""What was on its way at the moment of the fault has arrived after so long."""


@dataclass(frozen=True)
class Outcome:
    """One drill's result. `lost`, `doubled`: results, against an undisturbed run of the same work.

    `recovery_s`: from the fault (or the end of an outage) until the work was further than it was. `again`: of `work`
    pieces of work in all, how many were done more than once. `by`: who had to do something.
    """

    stage: str
    fault: str
    lost: int
    doubled: int
    same: bool
    recovery_s: float
    again: int
    work: int
    unit: str
    by: str = "nobody"

    def row(self) -> str:
        """This outcome's line of the table."""
        again = f"{self.again} of {self.work} {self.unit}"
        same = "yes" if self.same else "no"
        cells = (self.stage, self.fault, self.lost, self.doubled, same, f"{self.recovery_s:.1f}", again, self.by)
        return "| " + " | ".join(map(str, cells)) + " |"

    def as_json(self) -> dict[str, Any]:
        """What is printed."""
        return asdict(self)


HEAD = (
    "| stage | fault | lost | doubled | same result | recovery, s | done again | needed |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)

Drill = Callable[[], Outcome]


class Fault(threading.Thread):
    """Strikes as soon as it is `ready`, and watches when the work, as counted by `done`, goes past where it was.

    `strike` may last, as an outage does: recovery counts from its end. Any error ends the drill.
    """

    def __init__(self, ready: Callable[[], object], done: Callable[[], int], strike: Callable[[], object]) -> None:
        super().__init__(daemon=True)
        self.ready, self.done, self.strike = ready, done, strike
        self.struck_at = 0
        self.recovery_s = -1.0
        self.problem: BaseException | None = None
        self.start()

    def run(self) -> None:
        """The thread's work."""
        try:
            wait_for(self.ready, 150, every=0.2)
            self.strike()
            clock = time.monotonic()
            time.sleep(SETTLED_S)
            self.struck_at = self.done()
            wait_for(lambda: self.done() > self.struck_at, 240)
            self.recovery_s = time.monotonic() - clock
        except BaseException as problem:  # noqa: BLE001 (told by `outcome`, in the drill's own thread)
            self.problem = problem

    def outcome(self, seconds: float = 30) -> float:
        """The seconds of recovery. Raises what went wrong in the thread."""
        self.join(seconds)
        if self.problem is not None:
            raise self.problem
        if self.recovery_s < 0:
            raise TimeoutError("the fault did not strike, or the work went no further after it")
        return self.recovery_s


def difference(before: Iterable[str], after: Iterable[str]) -> tuple[int, int]:
    """How many of the ids `before` are missing in `after`, and how many there are beyond them."""
    whole, found = Counter(before), Counter(after)
    return (whole - found).total(), (found - whole).total()


def told(place: Any, name: str, key: str) -> int:
    """A number in a JSON file of `place`; 0 while there is none."""
    import json

    with suppress(Exception):
        return int(json.loads(place.get(name) or b"{}").get(key, 0))
    return 0
