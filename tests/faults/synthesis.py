"""Drills of the synthesis of ten documents, its generator a stub endpoint that counts prompts, its run on S3."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from memo_ray.artifacts.store import Artifact
from memo_ray.config.models import OpenAIModel
from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.errors import MemoError
from memo_ray.rows import LedgerEntry, Reflection, Reject
from tests.faults.drill import Fault, Outcome, difference
from tests.faults.fleet import Fleet, Machine, fleet, wait_for
from tests.ray.synthesis_run import run, settings
from tests.ray.writing_endpoint import Endpoint

DELAY_S = 0.3
OUTAGE_S = 30.0
WORKER = "MapWorker"
"""What Ray Data's process that asks the generator has in its name."""


@contextmanager
def endpoint(host: str) -> Iterator[Endpoint]:
    """The stub, on the fleet's bridge."""
    written = Endpoint(host=host)
    written.start()
    yield written
    written.stop()


def config(stub: Endpoint) -> SynthesisConfig:
    """The settings of these drills."""
    url = f"http://{stub.host}:{stub.port}/v1"
    return settings(stub.port, generator=OpenAIModel(engine="openai", base_url=url, model="writer", max_retries=2))


def tables(made: Artifact) -> list[list[object]]:
    """All that a synthesis leaves."""
    return [made.rows("reflections", Reflection), made.rows("ledger", LedgerEntry), made.rows("rejects", Reject)]


def ids(made: Artifact) -> list[str]:
    return [row.reflection_id for row in made.rows("reflections", Reflection)]


def drilled(
    fault: str,
    strike: Callable[[Fleet, Machine], object],
    *,
    on_disk: bool = False,
) -> Outcome:
    """A synthesis on two machines; `strike` gets that on which the worker runs. `on_disk`: the run
    is on the small disk and ends with one line; there is room again, and the same command is given once more."""
    with fleet(2) as machines, endpoint(machines.host) as stub:
        whole = run(machines.s3.bucket(), config(stub))
        once = dict(stub.asked)
        stub.asked.clear()
        stub.delay_s = DELAY_S
        where = str(machines.small / "runs") if on_disk else machines.s3.bucket()

        def now() -> None:
            (hit,) = [machine for machine in machines.machines if machine.runs(WORKER)]
            strike(machines, hit)

        falls = Fault(lambda: len(stub.asked) > len(once) // 3, lambda: len(stub.asked), now)
        by = "nobody"
        try:
            made = run(where, config(stub))
        except MemoError as error:
            if not (on_disk and "disk is full" in str(error)):
                raise
            by = "room on the disk, and the same command"
            (machines.small / "filler").unlink()
            made = run(where, config(stub))
        recovery = falls.outcome()
        lost, doubled = difference(ids(whole), ids(made))
        total = sum(once.values())
        return Outcome("synthesis", fault, lost, doubled, tables(made) == tables(whole), round(recovery, 1),
                       stub.asked.total() - total, total, "prompts", by)  # fmt: skip


def outage(machines: Fleet, _: Machine) -> None:
    """S3 refuses every connection for half a minute."""
    machines.s3.stop()
    time.sleep(OUTAGE_S)
    machines.s3.start()


def fill(machines: Fleet, _: Machine) -> None:
    """Leave no byte free on the run's disk, until somebody makes room."""
    filler = machines.small / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    wait_for(lambda: not filler.exists())


DRILLS = {
    "synthesis-node": functools.partial(drilled, "a worker node is killed", lambda _, hit: hit.kill()),
    "synthesis-network": functools.partial(drilled, "a node's network is cut", lambda _, hit: hit.cut()),
    "synthesis-notice": functools.partial(drilled, "a spot notice, 20 s", lambda _, hit: hit.notice()),
    "synthesis-s3": functools.partial(drilled, f"S3 is away for {OUTAGE_S:.0f} s", outage),
    "synthesis-disk": functools.partial(drilled, "the run's disk is full", fill, on_disk=True),
}
