"""Prompt tokens that an engine has to compute in the stage's order and in a random one; prints one JSON line.

    python benchmarks/prefix_order.py [--chunks 750] [--chunk_tokens 8000] [--pool 230000] [--violations 0.15]
        [--work FOLDER] [--until S]

The stage's own recipe and prompt files run for every chunk (Steps 1 to 4, rewriting, held-out questions), as many
chunks at once as `chunks_in_flight` says, on an engine that is simulated exactly as to what it has computed: a pool of
blocks of 16 tokens, each known by the hash of all tokens up to its end, in use or kept for the next that needs it, the
least recently used given away first, a finished prompt's last blocks before its first. A reply takes as long as it
has tokens. The same prompts then come in a random order that keeps their dependencies, as many at once on average. A
word counts as a token. `prefill_share` is tokens computed in the first case over those in the second;
`instruction_first_share` is the same for prompts in the stage's order that put the text last.

Each simulated order is kept in `--work`: after `--until` seconds none is begun, and run again on the same folder the
script goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import pickle
import random
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from _made_up import SYLLABLES, Writer
from _simulated import Asked, Blocks, Engine

from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.rows import Chunk
from memo_ray.synthesis.pairs import Source
from memo_ray.synthesis.recipe import Unit, synthesise_unit
from memo_ray.synthesis.settings import StepSettings


class Generator:
    """A ChatModel for one chunk that asks the simulated engine and makes up its replies."""

    name = "simulated"

    def __init__(self, unit: int, stage: Stage) -> None:
        self._unit, self._stage = unit, stage
        self._writer = Writer(random.Random(unit), stage.violations)
        self._done: list[Asked] = []

    async def chat(self, request: ChatRequest) -> ChatReply:
        """A reply as long as a real one, once the engine has come to its end."""
        text = json.dumps(self._writer.reply(request))
        asked = self._stage.blocks.of(self._unit, request, len(text.split()))
        asked.needs = tuple(self._done)
        await self._stage.wait(asked)
        self._done.append(asked)
        return ChatReply(text, "stop", asked.prompt_tokens, asked.output_tokens, 0)

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        yield await self.chat(request)

    async def close(self) -> None: ...


class Stage:
    """The stage's order: the recipe for every chunk, `chunks_in_flight` at once."""

    def __init__(self, engine: Engine, blocks: Blocks, violations: float) -> None:
        self.engine, self.blocks, self.violations = engine, blocks, violations
        self.asked: list[Asked] = []
        self._waiting: dict[Asked, asyncio.Future[None]] = {}

    async def wait(self, asked: Asked) -> None:
        """Until the engine has answered."""
        self.asked.append(asked)
        self._waiting[asked] = asyncio.get_running_loop().create_future()
        self.engine.submit(asked)
        await self._waiting[asked]

    async def run(self, units: list[Unit], settings: StepSettings) -> None:
        """All units, to the end."""
        gate = asyncio.Semaphore(settings.config.chunks_in_flight)

        async def one(number: int, unit: Unit) -> None:
            async with gate:
                await synthesise_unit(unit, Generator(number, self), settings)

        tasks = [asyncio.create_task(one(number, unit)) for number, unit in enumerate(units)]
        while not all(task.done() for task in tasks):
            # Time stands still until every coroutine waits for the engine.
            before = -1
            while before != len(self.asked):
                before = len(self.asked)
                for _ in range(10):
                    await asyncio.sleep(0)
            if self.engine.running:
                self._waiting.pop(self.engine.finish_one()).set_result(None)
        await asyncio.gather(*tasks)


def in_random_order(asked: list[Asked], engine: Engine, at_once: int, seed: int) -> None:
    """The same prompts, each time any of those whose predecessors are done, `at_once` in flight."""
    draw = random.Random(seed)
    blocked: dict[Asked, int] = {prompt: len(prompt.needs) for prompt in asked}
    following: dict[Asked, list[Asked]] = {prompt: [] for prompt in asked}
    for prompt in asked:
        for need in prompt.needs:
            following[need].append(prompt)
    ready = [prompt for prompt in asked if not blocked[prompt]]
    for _ in asked:
        while ready and len(engine.running) + len(engine.waiting) < at_once:
            at = draw.randrange(len(ready))
            ready[at], ready[-1] = ready[-1], ready[at]
            engine.submit(ready.pop())
        done = engine.finish_one()
        for prompt in following[done]:
            blocked[prompt] -= 1
            if not blocked[prompt]:
                ready.append(prompt)


def unit_of(number: int, tokens: int) -> Unit:
    """A chunk of `tokens` words."""
    text = " ".join(random.Random(f"chunk {number}").choices(SYLLABLES, k=tokens))
    return Unit(
        str(number), [Source(Chunk(str(number), str(number), 0, "", text, tokens, 0, len(text), ""))], held_out=3
    )


@dataclass
class Order:
    """One order of the prompts, simulated: the tokens that were computed, and how many prompts ran at once."""

    computed: int
    at_once: float
    asked: list[Asked]


def of_the_stage(options: argparse.Namespace, *, text_last: bool) -> Order:
    """The stage's own order."""
    stage = Stage(Engine(options.pool), Blocks(text_last), options.violations)
    units = [unit_of(number, options.chunk_tokens) for number in range(options.chunks)]
    asyncio.run(stage.run(units, StepSettings.load(SynthesisConfig())))
    return Order(stage.engine.computed, stage.engine.busy / stage.engine.now, stage.asked)


def at_random(options: argparse.Namespace, ours: Order) -> Order:
    """The prompts of `ours` in a random order."""
    engine = Engine(options.pool)
    in_random_order(ours.asked, engine, max(1, round(ours.at_once)), seed=0)
    return Order(engine.computed, engine.busy / engine.now, [])


def kept(work: Path | None, name: str, ends: float, run: Callable[[], Order]) -> Order:
    """What `run` gives; with `work`, what it gave before."""
    if work is None:
        return run()
    file = work / f"{name}.pickle"
    if file.is_file():
        return pickle.loads(file.read_bytes())
    if time.monotonic() > ends:
        sys.exit(f"time is up before {name}: run the same command again to go on")
    found = run()
    work.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".part").write_bytes(pickle.dumps(found))
    file.with_suffix(".part").rename(file)
    return found


def main() -> None:
    """Run the stage's order, replay it at random and print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=750)
    parser.add_argument("--chunk_tokens", type=int, default=8000)
    parser.add_argument("--pool", type=int, default=230_000, help="tokens that the engine's cache holds")
    parser.add_argument("--violations", type=float, default=0.15, help="share of pairs that are rewritten, each time")
    parser.add_argument("--work", type=Path, help="folder in which each simulated order is kept")
    parser.add_argument("--until", type=float, default=float("inf"), help="start no order after so many seconds")
    options = parser.parse_args()
    keep = partial(kept, options.work, ends=time.monotonic() + options.until)
    ours = keep("ours", run=lambda: of_the_stage(options, text_last=False))
    shuffled = keep("random", run=lambda: at_random(options, ours))
    text_last = keep("text-last", run=lambda: of_the_stage(options, text_last=True))
    print(
        json.dumps(
            {
                "prefill_share": round(ours.computed / shuffled.computed, 4),
                "instruction_first_share": round(text_last.computed / shuffled.computed, 4),
                "prompts": len(ours.asked),
                "prompts_with_the_text": sum(asked.prompt_tokens > options.chunk_tokens for asked in ours.asked),
                "prompt_tokens": sum(asked.prompt_tokens for asked in ours.asked),
                "computed_in_order": ours.computed,
                "computed_at_random": shuffled.computed,
                "at_once": max(1, round(ours.at_once)),
            }
        )
    )


if __name__ == "__main__":
    main()
