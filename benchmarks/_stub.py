"""The synthesis with an engine that only makes up replies, in a process of its own that can be killed and measured.

    python benchmarks/_stub.py ROOT '{"documents": 600, "words": 60, "delay_s": 0.1, ...}'

Runs the stage on a made-up corpus below ROOT, or goes on with it, and prints one JSON line. Every prompt that the
engine is given is one line, its request id, in ROOT/asked.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ray.data
from _made_up import ENGLISH, Writer, corpus

from memo_ray.artifacts.store import Artifact, Store
from memo_ray.config.models import VllmModel
from memo_ray.config.synthesis import Connections, HeldOut, SynthesisConfig
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.progress import unheard
from memo_ray.ray_session import session
from memo_ray.synthesis.ray_pass import Pass
from memo_ray.synthesis.ray_synthesis import synthesise

ONLY_DIRECT = ("indirect", "consolidation", "verification", "entities", "connections")


@dataclass(frozen=True)
class Plan:
    """`documents` of `words` words, `at_once` in flight, `delay_s` a prompt. `steps` false: one prompt a document, no
    Step 5. `checkpoints` false: rows stay in memory and nothing is kept for a later try. `slice_rows`: rows an
    execution of Ray Data; 0: as many as the stage takes."""

    documents: int
    words: int = 60
    delay_s: float = 0.0
    at_once: int = 16
    steps: bool = True
    checkpoints: bool = True
    slice_rows: int = 0

    def config(self) -> SynthesisConfig:
        """The stage's settings."""
        return SynthesisConfig(
            generator=VllmModel(engine="vllm", model="stub"),
            chunks_in_flight=self.at_once,
            without=() if self.steps else ONLY_DIRECT,
            connections=Connections(max_prompts=20),
            held_out=HeldOut() if self.steps else HeldOut(share=0.0, max_questions=0),
        )


class Stub:
    """A ChatModel that writes down what it is asked and answers with made-up pairs, the same to the same prompt."""

    name = "stub"

    def __init__(self, root: Path, delay_s: float) -> None:
        self._asked = os.open(root / "asked", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._delay_s = delay_s

    async def chat(self, request: ChatRequest) -> ChatReply:
        """A reply after the delay."""
        os.write(self._asked, f"{request.request_id}\n".encode())
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        text = json.dumps(Writer(random.Random(request.seed), 0.15, ENGLISH, (2, 3)).reply(request))
        return ChatReply(text, "stop", 100, len(text) // 4)

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The whole reply."""
        yield await self.chat(request)

    async def close(self) -> None:
        """Nothing is held but the file."""
        os.close(self._asked)


async def open_stub(root: Path, delay_s: float, *_: Any) -> Stub:
    """In the place of `open_model`."""
    return Stub(root, delay_s)


class ForgetfulPass(Pass):
    """A pass that keeps its rows in the driver's memory instead of a file each, and no replies."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.journal = None
        self._kept: list[dict[str, str]] = []

    def keep(self, results: ray.data.Dataset) -> None:
        """Run the pass."""
        self._kept.extend(results.iter_rows())

    def outputs(self) -> Iterator[tuple[str, list[dict[str, str]]]]:
        """All rows at once."""
        yield "memory", self._kept


def run(root: Path, plan: Plan) -> dict[str, Any]:
    """The stage to its end; its seconds, without the cluster's start."""
    made = corpus(root, plan.documents, plan.words, groups=max(1, plan.documents // 20))
    kind = Pass if plan.checkpoints else ForgetfulPass
    passes = partial(kind, slice_rows=plan.slice_rows) if plan.slice_rows else kind
    opener = partial(open_stub, root, plan.delay_s)
    with session(root / "logs"), Store(root).attempt("synthesis", "synthesis", "1" * 64, {}, {}) as attempt:
        begun = time.monotonic()
        synthesise(plan.config(), made, None, attempt, unheard, passes, opener)
        seconds = time.monotonic() - begun
    return {"seconds": round(seconds, 2)}


def is_finished(root: Path) -> bool:
    """Whether `run` has made its artefact below `root`."""
    return Store(root).find("synthesis", "1" * 64) is not None


def finished(root: Path) -> Artifact:
    """The artefact that `run` has made below `root`."""
    found = Store(root).find("synthesis", "1" * 64)
    assert found is not None, f"{root}: the run did not finish"
    return found


def start(root: Path, plan: Plan) -> subprocess.Popen[str]:
    """`run` in a process group of its own."""
    root.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, str(root), json.dumps(asdict(plan))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a started run printed. Raises SystemExit when it failed."""
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"a run ended with status {process.returncode}; its error is above")
    return json.loads(output.strip().splitlines()[-1])


def family(pid: int) -> list[int]:
    """The process and all that descend from it: a driver with its cluster."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended meanwhile
            children.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL for the run and its cluster."""
    for pid in family(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def asked(root: Path) -> list[str]:
    """The request ids of all prompts that were executed below `root`, in their order."""
    path = root / "asked"
    return path.read_text().split() if path.exists() else []


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), Plan(**json.loads(sys.argv[2])))))
