"""The two arms of `synthesis_engine.py`: a synthesis that is replayed on a real engine, and the engine alone.

A `Tape` holds every prompt that a synthesis asks, what it waited for, and a made-up reply. Both arms have the engine
generate exactly as many tokens as that reply has, under the same schema; then the pipeline reads the made-up reply,
so that its next prompts are the tape's, and the plain arm forgets it. An arm works on one window of documents
after the other and waits for the file `ARM-WINDOW.go` before each; `ARM-WINDOW.json` then holds what it saw.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from memo_ray.config.models import ModelConfig, VllmModel
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.models.vllm import VllmChatModel

LOOK_S = 0.02
TICK_S = 0.005


@dataclass
class Entry:
    """One prompt. `needs`: the request ids that were answered before it was asked, of the same document."""

    request: ChatRequest
    window: int
    document: int
    needs: tuple[str, ...]
    text: str
    tokens: int


@dataclass
class Tape:
    """All prompts by request id, and the folder in which the windows are started and told."""

    folder: Path
    entries: dict[str, Entry] = field(default_factory=dict)

    def save(self) -> None:
        """Keep the tape in its folder, where `read` finds it."""
        (self.folder / "tape").write_bytes(pickle.dumps(self))

    @staticmethod
    def read(folder: Path) -> Tape:
        """The tape that was saved in `folder` on this machine."""
        return pickle.loads((folder / "tape").read_bytes())

    def window(self, number: int) -> list[Entry]:
        """The prompts of one window, in the order in which they were asked."""
        return [entry for entry in self.entries.values() if entry.window == number]


class Windows:
    """One arm's windows: waits until one is opened, notes every reply in it, and writes what was seen at its end."""

    def __init__(self, arm: str, tape: Tape) -> None:
        self.arm, self.folder = arm, tape.folder
        self._left = Counter(entry.window for entry in tape.entries.values())
        self._open: dict[int, asyncio.Task[bool]] = {}
        self._seen: list[tuple[float, float, int, int]] = []
        self._watch = Watch()

    async def enter(self, number: int) -> bool:
        """Wait for the window; False when no more is to be generated."""
        if (self.folder / "stop").exists():
            return False
        if number not in self._open:
            self._open[number] = asyncio.create_task(self._opened(number))
        return await asyncio.shield(self._open[number])

    async def _opened(self, number: int) -> bool:
        while not (self.folder / f"{self.arm}-{number}.go").exists():
            if (self.folder / "stop").exists():
                return False
            await asyncio.sleep(LOOK_S)
        self._watch.start()
        return True

    def note(self, entry: Entry, asked: float, tokens: int, cached: int) -> None:
        """One reply of the window; the last one ends it."""
        self._seen.append((asked, time.monotonic(), tokens, cached))
        self._left[entry.window] -= 1
        if not self._left[entry.window]:
            told = {"replies": self._seen, "profile": self._watch.stop()}
            path = self.folder / f"{self.arm}-{entry.window}.json"
            path.with_suffix(".part").write_text(json.dumps(told))
            path.with_suffix(".part").rename(path)
            self._seen = []


class Watch:
    """Where the event loop's thread spends its time: its stack looked at every 5 ms, and how late its timers are."""

    def start(self) -> None:
        """Begin with the running loop."""
        self._where: Counter[str] = Counter()
        self._late: list[float] = []
        self._thread = threading.get_ident()
        self._ended = threading.Event()
        threading.Thread(target=self._look, daemon=True).start()
        self._lag = asyncio.get_running_loop().create_task(self._tick())

    def stop(self) -> dict[str, Any]:
        """Shares of time by function, `waiting` first, and the lag of the loop in milliseconds."""
        self._ended.set()
        self._lag.cancel()
        total, late = max(1, self._where.total()), sorted(self._late) or [0.0]
        return {
            "loop_share": {name: round(count / total, 4) for name, count in self._where.most_common(12)},
            "loop_lag_ms": {
                name: round(1000 * late[min(len(late) - 1, int(share * len(late)))], 2)
                for name, share in (("median", 0.5), ("p99", 0.99), ("max", 1.0))
            },
        }

    def _look(self) -> None:
        while not self._ended.wait(TICK_S):
            frame = sys._current_frames().get(self._thread)
            self._where[place(frame)] += 1

    async def _tick(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK_S)
            self._late.append(time.monotonic() - before - TICK_S)


OURS = ("memo_ray/", "benchmarks/", "vllm/", "ray/")
WAITING = frozenset({"select", "run_loop", "run_plain"})
"""Where a loop waits: asyncio's own, and what is innermost in Python while uvloop, which Ray uses too, waits."""


def place(frame: Any) -> str:
    """The innermost function of ours, vLLM's or Ray's that a thread is in; `waiting` for an idle loop."""
    while frame is not None:
        if frame.f_code.co_name in WAITING:
            return "waiting"
        path = frame.f_code.co_filename
        package = next((name for name in OURS if f"/{name}" in path), "")
        if package:
            return f"{package}{path.rpartition(f'/{package}')[2]}:{frame.f_code.co_name}"
        frame = frame.f_back
    return "asyncio"


class Unstopped(VllmChatModel):
    """An engine that generates as many tokens as it may, since an end of text does not end its reply."""

    def _sampling(self, request: ChatRequest, max_tokens: int, final_only: bool) -> Any:
        sampling = super()._sampling(request, max_tokens, final_only)
        sampling.ignore_eos = True
        return sampling

    async def alone(self, entry: Entry) -> Any:
        """The engine's own output for a prompt of the tape, past everything of ours but the chat template."""
        last = None
        sampling = self._sampling(entry.request, entry.tokens, True)
        prompt = {"prompt_token_ids": self.prompt_tokens(entry.request)}
        async for output in self._engine.generate(prompt, sampling, entry.request.request_id):
            last = output
        assert last is not None
        return last


class ReplayedModel:
    """The pipeline's ChatModel: the engine works as long as the tape says, the tape's reply is what is read."""

    def __init__(self, model: VllmChatModel, tape: Tape) -> None:
        self.name, self._model, self._tape = model.name, model, tape
        self._windows = Windows("pipeline", tape)

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The tape's reply, once the engine has generated as much."""
        entry = self._tape.entries[request.request_id]
        if not await self._windows.enter(entry.window):
            return ChatReply(entry.text, "stop", 0, 0)
        asked = time.monotonic()
        reply = await self._model.chat(entry_request(request, entry))
        self._windows.note(entry, asked, reply.output_tokens, reply.cached_tokens)
        return ChatReply(entry.text, "stop", reply.input_tokens, reply.output_tokens, reply.cached_tokens)

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The whole reply."""
        yield await self.chat(request)

    async def close(self) -> None:
        """Stop the engine."""
        await self._model.close()


def entry_request(request: ChatRequest, entry: Entry) -> ChatRequest:
    """The request with as many tokens as the tape's reply has."""
    return ChatRequest(
        request.request_id, request.messages, request.temperature, entry.tokens, request.top_p, request.schema,
        request.seed,
    )  # fmt: skip


async def open_replayed(folder: Path, config: ModelConfig, path: Path | None, _: Path | None) -> ReplayedModel:
    """In the place of `open_model`: the engine of the settings, with the tape that `folder` holds."""
    assert isinstance(config, VllmModel) and path is not None
    model = await Unstopped.start(config, path)
    (folder / "pipeline.ready").touch()
    return ReplayedModel(model, Tape.read(folder))


def run_plain(folder: Path, config: VllmModel, model: Path, windows: int, at_once: int) -> None:
    """The plain arm, in a process of its own."""
    uvloop.run(plain(Tape.read(folder), config, model, windows, at_once))


async def plain(tape: Tape, config: VllmModel, path: Path, windows: int, at_once: int) -> None:
    """The tape's prompts on vLLM alone: each as soon as what it needs is answered, `at_once` documents at a time."""
    model = await Unstopped.start(config, path)
    (tape.folder / "plain.ready").touch()
    seen = Windows("plain", tape)
    for number in range(windows):
        documents: dict[int, list[Entry]] = {}
        for entry in tape.window(number):
            documents.setdefault(entry.document, []).append(entry)
        if not await seen.enter(number):
            break
        gate = asyncio.Semaphore(at_once)
        await asyncio.gather(*(document(entries, model, seen, gate) for entries in documents.values()))
    while not (tape.folder / "stop").exists():
        await asyncio.sleep(LOOK_S)  # the other arm may be in the last window still
    await model.close()


async def document(entries: list[Entry], model: Unstopped, seen: Windows, gate: asyncio.Semaphore) -> None:
    """All prompts of one document."""
    answered = {entry.request.request_id: asyncio.Event() for entry in entries}

    async def one(entry: Entry) -> None:
        for need in entry.needs:
            await answered[need].wait()
        if await seen.enter(entry.window):
            asked = time.monotonic()
            last = await model.alone(entry)
            seen.note(entry, asked, len(last.outputs[0].token_ids), int(last.num_cached_tokens or 0))
        answered[entry.request.request_id].set()

    async with gate:
        await asyncio.gather(*(one(entry) for entry in entries))
