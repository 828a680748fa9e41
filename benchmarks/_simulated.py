"""An engine that is simulated as to what it has computed: a pool of cache blocks, and a clock that counts tokens."""

from __future__ import annotations

import heapq
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from memo_ray.models.chat import ChatRequest

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
