"""Prompt tokens that an engine has to compute in the stage's order and in a random one; prints one JSON line.

    python benchmarks/prefix_order.py [--chunks 750] [--chunk_tokens 8000] [--pool 230000] [--violations 0.15]

The stage's own recipe and prompt files run for every chunk (Steps 1 to 4, rewriting, held-out questions), as many
chunks at once as `chunks_in_flight` says, on an engine that is simulated exactly as to what it has computed: a pool of
blocks of 16 tokens, each known by the hash of all tokens up to its end, in use or kept for the next that needs it, the
least recently used given away first, a finished prompt's last blocks before its first. A reply takes as long as it
has tokens. The same prompts then come in a random order that keeps their dependencies, as many at once on average. A
word counts as a token. `prefill_share` is tokens computed in the first case over those in the second;
`instruction_first_share` is the same for prompts in the stage's order that put the text last.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import json
import random
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from _made_up import SYLLABLES, Writer

from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.rows import Chunk
from memo_ray.synthesis.pairs import Source
from memo_ray.synthesis.recipe import Unit, synthesise_unit
from memo_ray.synthesis.settings import StepSettings

BLOCK = 16
END_OF_TEXT = "\n</text>\n"


@dataclass(eq=False)
class Asked:
    """A prompt: the keys of its full blocks (those of the common beginning are shared), its length, its reply's."""

    unit: int
    keys: tuple[list[int], list[int]]
    prompt_tokens: int
    output_tokens: int
    needs: tuple[Asked, ...] = ()
    held: list[Any] = field(default_factory=list)


class Engine:
    """The pool and the clock. `submit` prompts; `finish_one` returns the next that is done."""

    def __init__(self, pool_tokens: int) -> None:
        self.capacity = pool_tokens // BLOCK
        self.in_use: Counter[Any] = Counter()
        self.free: OrderedDict[Any, None] = OrderedDict()
        self.waiting: deque[Asked] = deque()
        self.running: list[tuple[int, int, Asked]] = []
        self.now = self.computed = self.prompts = self.busy = 0

    def submit(self, asked: Asked) -> None:
        """Queue a prompt, first come first served."""
        self.waiting.append(asked)
        self._admit()

    def _admit(self) -> None:
        while self.waiting and self._start(self.waiting[0]):
            self.waiting.popleft()

    def _start(self, asked: Asked) -> bool:
        keys = asked.keys[0] + asked.keys[1]
        hits = 0
        # The last token is always computed, since its output is what the reply starts from.
        while hits < min(len(keys), (asked.prompt_tokens - 1) // BLOCK) and (
            keys[hits] in self.in_use or keys[hits] in self.free
        ):
            hits += 1
        own = -(-(asked.prompt_tokens + asked.output_tokens) // BLOCK) - len(keys)
        held = [*keys, *((id(asked), number) for number in range(own))]
        kept = sum(key not in self.in_use for key in held)
        if len(self.in_use) + kept > self.capacity:
            return False
        for key in held:
            self.in_use[key] += 1
            self.free.pop(key, None)
        while len(self.in_use) + len(self.free) > self.capacity:
            self.free.popitem(last=False)
        asked.held = held
        self.computed += asked.prompt_tokens - hits * BLOCK
        self.prompts += 1
        heapq.heappush(self.running, (self.now + asked.output_tokens, self.prompts, asked))
        return True

    def finish_one(self) -> Asked:
        """Let time go on until a prompt is done."""
        end, _, asked = heapq.heappop(self.running)
        self.busy += (end - self.now) * (len(self.running) + 1)
        self.now = end
        for key in reversed(asked.held):
            self.in_use[key] -= 1
            if not self.in_use[key]:
                del self.in_use[key]
                self.free[key] = None
        asked.held = []
        self._admit()
        return asked


class Blocks:
    """From a conversation to the keys of its blocks; what comes before the end of a chunk's text is hashed once."""

    def __init__(self, text_last: bool) -> None:
        self._text_last = text_last
        self._beginnings: dict[str, tuple[list[int], list[str], int]] = {}

    def of(self, unit: int, request: ChatRequest, output_tokens: int) -> Asked:
        """The prompt that `request` is; as many blocks of its beginning as hold nothing else are shared."""
        said = "".join(f"<|im_start|>{m['role']}\n{m['content']} <|im_end|>\n" for m in request.messages)
        said += "<|im_start|>assistant\n"
        beginning, mark, rest = said.partition(END_OF_TEXT)
        if not mark:
            beginning, rest = "", said
        elif self._text_last:
            head, _, text = beginning.partition("<text>\n")
            beginning, rest = head + rest, f"<text>\n{text}{mark}"
        shared, left, length = self._hashed(beginning + mark) if not self._text_last else ([], [], 0)
        words = left + (beginning + rest if self._text_last else rest).split()
        keys, _ = chain(words, shared[-1] if shared else 0)
        return Asked(unit, (shared, keys), length - len(left) + len(words), output_tokens)

    def _hashed(self, beginning: str) -> tuple[list[int], list[str], int]:
        if beginning not in self._beginnings:
            words = beginning.split()
            keys, left = chain(words, 0)
            self._beginnings[beginning] = keys, left, len(words)
        return self._beginnings[beginning]


def chain(words: list[str], before: int) -> tuple[list[int], list[str]]:
    """The keys of the full blocks of `words`, each a hash over everything before it; and the words left over."""
    keys = []
    full = len(words) // BLOCK * BLOCK
    for start in range(0, full, BLOCK):
        before = hash((before, *words[start : start + BLOCK]))
        keys.append(before)
    return keys, words[full:]


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


def main() -> None:
    """Run the stage's order, replay it at random and print one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=750)
    parser.add_argument("--chunk_tokens", type=int, default=8000)
    parser.add_argument("--pool", type=int, default=230_000, help="tokens that the engine's cache holds")
    parser.add_argument("--violations", type=float, default=0.15, help="share of pairs that are rewritten, each time")
    options = parser.parse_args()
    settings = StepSettings.load(SynthesisConfig())
    units = [unit_of(number, options.chunk_tokens) for number in range(options.chunks)]
    ours, text_last = (Stage(Engine(options.pool), Blocks(last), options.violations) for last in (False, True))
    for stage in (ours, text_last):
        asyncio.run(stage.run(units, settings))
    at_once = max(1, round(ours.engine.busy / ours.engine.now))
    shuffled = Engine(options.pool)
    in_random_order(ours.asked, shuffled, at_once, seed=0)
    print(
        json.dumps(
            {
                "prefill_share": round(ours.engine.computed / shuffled.computed, 4),
                "instruction_first_share": round(text_last.engine.computed / shuffled.computed, 4),
                "prompts": len(ours.asked),
                "prompts_with_the_text": sum(asked.prompt_tokens > options.chunk_tokens for asked in ours.asked),
                "prompt_tokens": sum(asked.prompt_tokens for asked in ours.asked),
                "computed_in_order": ours.engine.computed,
                "computed_at_random": shuffled.computed,
                "at_once": at_once,
            }
        )
    )


if __name__ == "__main__":
    main()
