"""Engines for serving's benchmarks that compute nothing: their time is a continuous batch's, their replies a script's.

The executive leads each question through the three stages, and its answer is what the memory said to that question,
read from its prompt as a model would; so a reply that went to another question is seen.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from memo_ray.config.models import ModelConfig, OpenAIModel
from memo_ray.config.serving import ServingConfig
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.serving.application import build_app
from memo_ray.serving.ray_serving import ServedRun, start, url_of, wait_until_healthy

START_S = 240.0
"""Seconds that the deployments may take to start."""

ENTITY = "Isolde Marrick"
ITEM = re.compile(r"lot (\d+)\?")
CODE = re.compile(r"code of lot (\d+) is ([0-9a-f]{12})")


@dataclass(frozen=True)
class Pace:
    """How long a reply takes: `steps` steps of `step_ms`, each `slower` longer for every further reply in the batch."""

    steps: int = 0
    step_ms: float = 0.0
    slower: float = 0.0

    def seconds(self, batch: int) -> float:
        """A reply's time in a batch of this size."""
        return self.steps * self.step_seconds(batch)

    def step_seconds(self, batch: int) -> float:
        """One step's time."""
        return self.step_ms / 1000 * (1 + self.slower * (batch - 1))


@dataclass(frozen=True)
class Script:
    """How a question goes: `turns` that ask the memory in each of Stages 2 and 3, `questions` in each turn."""

    turns: int = 3
    questions: int = 2

    @property
    def two_hop_turns(self) -> int:
        """Turns in which the executive and then the memory are asked."""
        return 1 + 2 * self.turns


class Stub:
    """A ChatModel with a batch: replies begin at a step and end together with those that began with them."""

    def __init__(self, name: str, pace: Pace, script: Script) -> None:
        self.name = name
        self._pace = pace
        self._script = script
        self._running: dict[asyncio.Future[None], int] = {}
        self._engine: asyncio.Task[None] | None = None

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The script's reply after the batch's time."""
        if self._pace.steps:
            await self._generated()
        text = recalled(request) if self.name == "memory" else decided(request, self._script)
        return ChatReply(text, "stop", sum(len(m["content"]) for m in request.messages) // 4, len(text) // 4)

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The same in pieces."""
        reply = await self.chat(request)
        for place in range(0, len(reply.text), 8):
            yield reply.text[place : place + 8]
        yield reply

    async def close(self) -> None:
        """Nothing is held."""

    async def _generated(self) -> None:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._running[ended] = self._pace.steps
        if self._engine is None or self._engine.done():
            self._engine = asyncio.create_task(self._steps())
        try:
            await ended
        finally:
            self._running.pop(ended, None)

    async def _steps(self) -> None:
        """The engine's loop. Each step ends a step's time after the last one, however late the timer was."""
        clock = asyncio.get_running_loop().time
        end = clock()
        while batch := list(self._running):
            end += self._pace.step_seconds(len(batch))
            await asyncio.sleep(max(0.0, end - clock()))
            for ended in batch:
                if ended in self._running:
                    self._running[ended] -= 1
                    if not self._running[ended]:
                        del self._running[ended]
                        ended.set_result(None)


def recalled(request: ChatRequest) -> str:
    """The memory's reply: the code of the lot that it is asked about."""
    found = ITEM.search(request.messages[-1]["content"])
    return f"The code of lot {found[1]} is {code(int(found[1]))}." if found else "I don't know"


def code(lot: int) -> str:
    """What the memory knows of a lot."""
    return hashlib.sha256(str(lot).encode()).hexdigest()[:12]


def decided(request: ChatRequest, script: Script) -> str:
    """The executive's reply to the stage and turn that the request's id names, about the lot of the user's question."""
    stage, turn = re.findall(r"/(\w+)-(\d+)\.", request.request_id)[-1]
    prompt = "\n".join(message["content"] for message in request.messages)
    lots = ITEM.findall(prompt)
    if not lots:
        raise ValueError("the prompt holds no lot")
    asked = [f"Reading {stage} {turn} {n}: which code has lot {lots[0]}?" for n in range(script.questions)]
    more = int(turn) <= script.turns
    if stage == "grounding":
        return json.dumps({"questions": asked})
    if stage == "identification":
        reply = {
            "findings": [],
            "facts": [f"{ENTITY} keeps the lots."],
            "candidates": [{"name": ENTITY, "rank": 1, "for": [1], "against": []}],
            "confirmed": "" if more else ENTITY,
            "decision": "continue",
            "questions": [{"about": ENTITY, "question": question} for question in asked if more],
        }
        return json.dumps(reply)
    if stage == "answering":
        reply = {
            "role": "subject",
            "labels": [],
            "facts": [],
            "entity": ENTITY,
            "decision": "continue" if more else "answer",
            "questions": asked if more else [],
        }
        return json.dumps(reply)
    said = sorted(set(CODE.findall(prompt)))
    answer = " ".join(f"{lot}:{found}" for lot, found in said) or "nothing was remembered"
    return json.dumps({"justification": "The memory says so.", "evidence": [1], "answer": answer})


def question_of(lot: int) -> str:
    """A user's question."""
    return f"What is the code of lot {lot}?"


def answer_of(lot: int) -> str:
    """Its only right answer."""
    return f"{lot}:{code(lot)}"


def stub_config(name: str) -> OpenAIModel:
    """Settings that stand for a stub; nothing is sent anywhere."""
    return OpenAIModel(engine="openai", base_url="http://127.0.0.1:9/v1", model=name)


async def open_stub(paces: dict[str, Pace], script: Script, config: ModelConfig, *_: Path | None) -> Stub:
    """In the place of `open_model`: the stub that `config.model` names."""
    return Stub(config.model, paces[config.model], script)


@contextmanager
def served(config: ServingConfig, paces: dict[str, Pace], script: Script) -> Iterator[ServedRun]:
    """The real deployments over stubs, on an initialised Ray, for the length of the block."""
    application = build_app(config, None, None, opener=partial(open_stub, paces, script))
    run = ServedRun(url_of(config.host, config.port), config)
    try:
        start(config, application)
        wait_until_healthy(run.url, time.monotonic() + START_S, START_S)
        yield run
    finally:
        run.close()


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
