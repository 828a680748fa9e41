"""What Ray Serve adds to the protocol, over engines that compute nothing; the last line is one JSON object.

    python benchmarks/serving_overhead.py [--rounds 60]

The real deployments answer over HTTP on this machine: gateway, protocol, executive, memory, a replica each.

- `added_ms_p50`: the median answer over HTTP takes this much longer than the median answer of the same machine with the
  same engines in one process, divided by the turns in which the executive and then the memory are asked. Engines reply
  at once. Everything is charged to those turns: the way in and out, and the executive's calls that ask nothing.
- `wall_over_critical`: an answer over HTTP, in units of its longest chain of calls of 200 ms. The same in one process
  stands beside it. The engine's steps are short, since a call that comes a moment after another one waits for the next.
- `eight_over_one`: a turn with eight sub-questions over one with one, in units of what the engine's own curve gives.
  The engine works in steps, each 5% longer for every further reply in its batch.

Beside them stands how long the machine kept a timer of 1 ms waiting, since other work on it is measured too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from _engines import Pace, Script, Stub, answer_of, free_port, question_of, served, stub_config

from memo_ray.config.serving import ServingConfig
from memo_ray.protocol.driver import run_protocol
from memo_ray.ray_session import session

TURNS = Script(turns=3, questions=2)
CALL = Pace(steps=40, step_ms=5)
CURVE = Pace(steps=20, step_ms=10, slower=0.05)
WARM_UP = 5


def chain_of(script: Script) -> int:
    """Calls of an answer that wait for each other: two a two-hop turn, and the executive's three that ask nothing."""
    return 2 * script.two_hop_turns + 3


async def in_process(stubs: dict[str, Stub], config: ServingConfig, lot: int) -> float:
    """Seconds of an answer of the machine alone."""
    clock = time.perf_counter()
    outcome = await run_protocol(
        question_of(lot), stubs["executive"], stubs["memory"], config.protocol, schema_enforced=True
    )
    seconds = time.perf_counter() - clock
    check(outcome.answer, lot)
    return seconds


async def over_http(client: httpx.AsyncClient, lot: int) -> tuple[float, dict[str, Any]]:
    """Seconds of an answer of the deployments, and the answer."""
    clock = time.perf_counter()
    reply = await client.post("/v1/answers", json={"question": question_of(lot)})
    seconds = time.perf_counter() - clock
    reply.raise_for_status()
    check(reply.json()["answer"], lot)
    return seconds, reply.json()


def check(answer: str, lot: int) -> None:
    """End the benchmark when an answer is not this question's."""
    if answer != answer_of(lot):
        sys.exit(f"lot {lot} got the answer {answer!r}")


def settings() -> ServingConfig:
    """The defaults, with the two stubs."""
    return ServingConfig(port=free_port(), executive=stub_config("executive"), memory=stub_config("memory"))


async def compared(url: str, config: ServingConfig, pace: Pace, script: Script, rounds: int) -> tuple[float, float]:
    """The median seconds of an answer over HTTP and in this process, which take turns."""
    stubs = {name: Stub(name, pace, script) for name in ("executive", "memory")}
    outside: list[float] = []
    inside: list[float] = []
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
        for lot in range(rounds + WARM_UP):
            seconds, _ = await over_http(client, lot)
            outside.append(seconds)
            inside.append(await in_process(stubs, config, lot))
    return statistics.median(outside[WARM_UP:]), statistics.median(inside[WARM_UP:])


def added(rounds: int) -> dict[str, float]:
    """What each turn takes longer."""
    config = settings()
    with served(config, {"executive": Pace(), "memory": Pace()}, TURNS) as run:
        outside, inside = asyncio.run(compared(run.url, config, Pace(), TURNS, rounds))
    return {
        "added_ms_p50": round((outside - inside) * 1000 / TURNS.two_hop_turns, 2),
        "answer_ms": round(outside * 1000, 1),
        "answer_in_process_ms": round(inside * 1000, 1),
    }


def critical(rounds: int) -> dict[str, float]:
    """An answer over its longest chain of calls."""
    config = settings()
    with served(config, {"executive": CALL, "memory": CALL}, TURNS) as run:
        outside, inside = asyncio.run(compared(run.url, config, CALL, TURNS, rounds))
    chain = chain_of(TURNS) * CALL.seconds(1)
    return {
        "wall_over_critical": round(outside / chain, 3),
        "wall_over_critical_in_process": round(inside / chain, 3),
    }


def eight(rounds: int) -> dict[str, float]:
    """Stage 1, whose one turn has all the sub-questions, with eight and with one."""
    turn = {count: one_turn(count, rounds) for count in (1, 8)}
    curve = CURVE.seconds(8) / CURVE.seconds(1)
    return {
        "eight_over_one": round(turn[8] / turn[1] / curve, 3),
        "one_ms": round(turn[1] * 1000, 1),
        "eight_ms": round(turn[8] * 1000, 1),
        "curve": round(curve, 3),
    }


def one_turn(questions: int, rounds: int) -> float:
    """The median seconds of a turn with so many sub-questions."""
    config = settings()

    async def measure(url: str) -> float:
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:
            bodies = [(await over_http(client, lot))[1] for lot in range(rounds + WARM_UP)]
        return statistics.median(body["stages"][0]["seconds"] for body in bodies[WARM_UP:])

    with served(config, {"executive": Pace(), "memory": CURVE}, Script(turns=0, questions=questions)) as run:
        return asyncio.run(measure(run.url))


async def lateness_ms(count: int = 200) -> float:
    """How late the machine wakes who sleeps for a millisecond, in the median."""
    late = []
    for _ in range(count):
        clock = time.perf_counter()
        await asyncio.sleep(0.001)
        late.append(time.perf_counter() - clock - 0.001)
    return statistics.median(late) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60, help="answers of each kind; of the slow ones a fifth")
    rounds = parser.parse_args().rounds
    # Replicas import this folder's modules.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    few = max(3, rounds // 5)
    with tempfile.TemporaryDirectory() as logs, session(Path(logs)):
        measured = {**added(rounds), **critical(few), **eight(few)}
    measured["timer_late_ms"] = round(asyncio.run(lateness_ms()), 2)
    print(json.dumps({"cores": os.cpu_count(), "rounds": rounds, **measured}))
    print(json.dumps({key: measured[key] for key in ("added_ms_p50", "wall_over_critical", "eight_over_one")}))


if __name__ == "__main__":
    main()
