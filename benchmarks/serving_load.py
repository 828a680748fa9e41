"""Many streamed answers at once while replicas are killed; the last line is one JSON object.

    python benchmarks/serving_load.py [--clients 200 --seconds 300 --kill-every 20]

The real deployments answer over HTTP on this machine, two replicas each but the gateway, over engines that compute
nothing. Each client puts one question after the other, every one about another lot, so that an answer or a memory's
reply that went to somebody else is seen. Meanwhile one replica after the other is killed, each deployment's in turn
within every period.

- `answered`: with the right answer. `degraded`: with what was left when the calls to a killed replica failed.
- `mixed`: the answer or its transcript holds something of another question.
- `refused`: 429 and 503, with Retry-After; the client waits that long. `failed`: an error, at once or as the stream's
  last event; Serve's own 500 where the gateway's replica was killed. `cut`: the connection ended, for the same reason.
- `lost`: streams that ended in order without an answer or an error. `hung`: those that took longer than the server's
  own limit.
- `seconds_p50`, `seconds_p99` of an answer.

Ends with status 1 when one was mixed, lost or hung, or none came.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import ray
from _engines import CODE, Pace, Script, answer_of, free_port, question_of, served, stub_config
from ray.util import list_named_actors

from memo_ray.config.serving import ReplicaSettings, ServingConfig
from memo_ray.ray_session import session

SCRIPT = Script(turns=1, questions=2)
PACES = {"executive": Pace(steps=5, step_ms=20), "memory": Pace(steps=5, step_ms=10)}
DEPLOYMENTS = ("memory", "executive", "protocol", "gateway")
ANSWERED = re.compile(r"\b(\d+):([0-9a-f]{12})\b")
"""A lot in the executive's answer."""
LIMIT_S = 120.0
"""The server's time limit for a request."""
SPARE_S = 30.0
"""Seconds beyond it after which a request hangs."""


@dataclass
class Tally:
    """What became of the requests. `seconds`: of those that were answered. `errors`: the first of each kind."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    killed: Counter[str] = field(default_factory=Counter)

    def book(self, outcome: str, what: str = "") -> None:
        """Count one request."""
        self.outcomes[outcome] += 1
        if what:
            self.errors.setdefault(f"{outcome}: {what[:60]}", what[:300])

    def row(self) -> dict[str, Any]:
        """The figures."""
        kinds = ("answered", "degraded", "mixed", "lost", "hung", "refused", "failed", "cut")
        ordered = sorted(self.seconds) or [0.0]
        return {
            **{kind: self.outcomes[kind] for kind in kinds},
            "seconds_p50": round(statistics.median(ordered), 2),
            "seconds_p99": round(ordered[int(0.99 * (len(ordered) - 1))], 2),
            "killed": self.killed.total(),
        }


async def ask(http: httpx.AsyncClient, lot: int, tally: Tally) -> float:
    """One streamed answer. Returns the seconds to wait before the next."""
    clock = time.perf_counter()
    try:
        async with (
            asyncio.timeout(LIMIT_S + SPARE_S),
            http.stream("POST", "/v1/answers", json={"question": question_of(lot), "stream": True}) as reply,
        ):
            if reply.status_code != 200:
                told = (await reply.aread()).decode()
                refused = reply.status_code in (429, 503) and "retry-after" in reply.headers
                tally.book("refused" if refused else "failed", f"{reply.status_code} {told}")
                return float(reply.headers.get("retry-after", 0.5))
            event, last = "", ("", "")
            async for line in reply.aiter_lines():
                name, _, value = line.partition(": ")
                event = value if name == "event" else event
                last = (event, value) if name == "data" else last
    except TimeoutError:
        tally.book("hung", question_of(lot))
        return 0.0
    except httpx.TransportError as error:
        tally.book("cut", type(error).__name__)
        return 0.5
    if last[0] == "answer":
        tally.book(judged(last[1], lot))
        tally.seconds.append(time.perf_counter() - clock)
    else:
        tally.book("failed" if last[0] == "error" else "lost", last[1])
    return 0.0


def judged(body: str, lot: int) -> str:
    """What an answer, as JSON with its transcript, is to the question about `lot`."""
    if any(int(other) != lot for other, _ in [*CODE.findall(body), *ANSWERED.findall(body)]):
        return "mixed"
    return "answered" if json.loads(body)["answer"] == answer_of(lot) else "degraded"


async def clients(url: str, number: int, seconds: float, tally: Tally) -> None:
    """So many clients, each asking until the time is over and its last answer is there."""
    lots = count()
    end = time.monotonic() + seconds
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits, trust_env=False) as http:

        async def client() -> None:
            while time.monotonic() < end:
                await asyncio.sleep(await ask(http, next(lots), tally))

        async with asyncio.TaskGroup() as group:
            for _ in range(number):
                group.create_task(client())


async def killer(period_s: float, tally: Tally) -> None:
    """Kill a replica of each deployment in every period, spread over it."""
    while True:
        for deployment in DEPLOYMENTS:
            await asyncio.sleep(period_s / len(DEPLOYMENTS))
            names = await asyncio.to_thread(replicas, deployment)
            with suppress(ValueError):  # it has ended meanwhile
                if names:
                    ray.kill(ray.get_actor(names[0], namespace="serve"))
                    tally.killed[deployment] += 1


def replicas(deployment: str) -> list[str]:
    """The names of a deployment's replicas."""
    named: Any = list_named_actors(all_namespaces=True)
    return sorted(row["name"] for row in named if row["name"].startswith(f"SERVE_REPLICA::memo#{deployment}#"))


async def load(url: str, options: argparse.Namespace, tally: Tally) -> None:
    """Clients and killer together."""
    killing = asyncio.create_task(killer(options.kill_every, tally)) if options.kill_every else None
    try:
        await clients(url, options.clients, options.seconds, tally)
    finally:
        if killing is not None:
            killing.cancel()
            await asyncio.gather(killing, return_exceptions=True)
            if not killing.cancelled():
                killing.result()


def settings() -> ServingConfig:
    """The defaults with the two stubs, two replicas of each, and places for everybody."""
    two = ReplicaSettings(min_replicas=2, max_replicas=2, max_ongoing_requests=256)
    return ServingConfig(
        port=free_port(),
        executive=stub_config("executive"),
        memory=stub_config("memory"),
        executive_replicas=two,
        memory_replicas=two,
        protocol_replicas=two,
        max_queued_requests=1024,
        request_timeout_s=LIMIT_S,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200, help="answers under way at once")
    parser.add_argument("--seconds", type=float, default=300, help="how long they go on asking")
    parser.add_argument("--kill-every", type=float, default=20, help="seconds in which each loses a replica; 0: never")
    options = parser.parse_args()
    # Replicas import this folder's modules.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    tally = Tally()
    with tempfile.TemporaryDirectory() as logs, session(Path(logs)), served(settings(), PACES, SCRIPT) as run:
        clock = time.monotonic()
        asyncio.run(load(run.url, options, tally))
        took = time.monotonic() - clock
    for error in tally.errors.values():
        print(error, file=sys.stderr)
    row = tally.row()
    print(json.dumps({"cores": os.cpu_count(), "clients": options.clients, "took_s": round(took, 1), **row}))
    wrong = row["mixed"] + row["lost"] + row["hung"]
    sys.exit(1 if wrong or not row["answered"] else 0)


if __name__ == "__main__":
    main()
