"""Puts a step's prompts to a ChatModel: parses every reply, retries once with the error shown, counts everything.

`Prompt` is what the pure steps make; `Asker.ask` returns each prompt with the JSON value of its reply, and notes
prompts that came to nothing as `Lost`. This is the only place of the synthesis that speaks to a model.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from memo_ray.errors import EngineDied, GenerationError, PromptRefused, SpendingLimitReached
from memo_ray.models.chat import ChatModel, ChatReply, ChatRequest, Message
from memo_ray.models.replies import parse_json
from memo_ray.rows import content_id
from memo_ray.synthesis.pairs import Lost, Pair
from memo_ray.synthesis.schemas import at_most, without_lengths


@dataclass(frozen=True, slots=True)
class Prompt:
    """One prompt and what its reply will be read with.

    `answer`: the answer that a question is wanted for, if it is given; `statement`: the statement that it is
    missing in. `items`: the pairs that the prompt shows,
    in the order of their numbers, so that a reply can refer to them. `evidence`: the text behind the prompt.
    """

    step: str
    messages: tuple[Message, ...]
    schema: dict[str, Any]
    temperature: float
    top_p: float
    max_tokens: int
    evidence: str
    chunk_ids: tuple[str, ...]
    document_ids: tuple[str, ...]
    sample: int = 0
    answer: str = ""
    statement: str = ""
    items: tuple[Pair, ...] = ()
    group_id: str = ""

    @property
    def prompt_id(self) -> str:
        """A hash of everything that shapes the reply: messages, schema, sampling, which sample of several."""
        turns = [f"{message['role']}: {message['content']}" for message in self.messages]
        sampling = f"{self.temperature} {self.top_p} {self.max_tokens} {self.sample} {self.schema}"
        return content_id("prompt", self.step, *turns, sampling, *self.chunk_ids)

    @property
    def seed(self) -> int:
        """Thirty-one bits of the prompt's id; engines that take a seed per request use it."""
        return int(self.prompt_id[:8], 16) & 0x7FFFFFFF

    def request(self) -> ChatRequest:
        """The prompt as a request to a model."""
        return ChatRequest(
            self.prompt_id, self.messages, self.temperature, self.max_tokens, self.top_p, self.schema, self.seed
        )

    def lost(self, reason: str, detail: str, reply: str = "") -> Lost:
        """This prompt as a loss."""
        chunk_id = self.chunk_ids[0] if self.chunk_ids else ""
        shown = self.messages[-1]["content"]
        return Lost(self.step, reason, detail, self.prompt_id, chunk_id, shown, reply)


@dataclass
class StepCount:
    """What one step did. `retried`: prompts whose first reply could not be used, `failed`: those whose second could
    not either; `lost`: pairs that a check took away.

    `kinds`: of the pairs kept, how many are of each of the step's kinds; for Step 3 the violations that were found,
    and how many pairs were `rewritten`.
    """

    prompts: int = 0
    checks: int = 0
    made: int = 0
    kept: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    retried: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    def add(self, other: StepCount) -> None:
        """Add another count of the same step."""
        self.prompts += other.prompts
        self.checks += other.checks
        self.made += other.made
        self.kept += other.kept
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cached_tokens += other.cached_tokens
        self.retried.update(other.retried)
        self.failed.update(other.failed)
        self.lost.update(other.lost)
        self.kinds.update(other.kinds)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `StepCount.read` reads back; also the form of `facts["by_step"]`."""
        return {
            "prompts": self.prompts, "checks": self.checks, "made": self.made, "kept": self.kept,
            "input_tokens": self.input_tokens, "output_tokens": self.output_tokens, "cached_tokens": self.cached_tokens,
            "retried": dict(sorted(self.retried.items())), "failed": dict(sorted(self.failed.items())),
            "lost": dict(sorted(self.lost.items())),
            "kinds": dict(sorted(self.kinds.items())),
        }  # fmt: skip

    @classmethod
    def read(cls, data: dict[str, Any]) -> StepCount:
        """The inverse of `to_json`."""
        return cls(**{**data, **{key: Counter(data.get(key, {})) for key in ("retried", "failed", "lost", "kinds")}})


class Asker:
    """A ChatModel with the accounts of one piece of work: counts by step, losses, tokens."""

    def __init__(self, model: ChatModel) -> None:
        self._model = model
        self.counts: dict[str, StepCount] = {}
        self.losses: list[Lost] = []
        self.cost: Counter[str] = Counter()

    def count(self, step: str) -> StepCount:
        """The count of `step`, begun when it is first asked for."""
        return self.counts.setdefault(step, StepCount())

    def lose(self, losses: Iterable[Lost]) -> None:
        """Note pairs that a check took away."""
        for loss in losses:
            self.count(loss.step).lost[loss.reason] += 1
            self.losses.append(loss)

    async def ask(self, prompts: Iterable[Prompt], *, check: bool = False) -> list[tuple[Prompt, Any]]:
        """Every prompt whose reply could be used, with the reply's JSON value, in order; all run at once.

        `check`: the prompts examine pairs and make none. Raises EngineDied when the engine is gone, and
        SpendingLimitReached when it may cost no more.
        """
        prompts = list(prompts)
        for prompt in prompts:
            count = self.count(prompt.step)
            if check:
                count.checks += 1
            else:
                count.prompts += 1
        answered = await asyncio.gather(*(self._ask(prompt) for prompt in prompts))
        return [(prompt, value) for prompt, value in zip(prompts, answered, strict=True) if value is not None]

    async def _ask(self, prompt: Prompt) -> Any | None:
        request, reply, error = prompt.request(), None, ""
        for attempt in (1, 2):
            try:
                reply = await self._model.chat(request)
            except (EngineDied, SpendingLimitReached):
                raise
            except PromptRefused as problem:
                return self._fail(prompt, "refused", str(problem), "")
            except GenerationError as problem:
                return self._fail(prompt, "engine", str(problem), "")
            self._charge(prompt.step, reply)
            try:
                return parse_json(reply.text, without_lengths(prompt.schema))
            except GenerationError as problem:
                error = f"the reply was cut at {request.max_tokens} tokens" if cut(reply) else str(problem)
            if attempt == 1:
                self.count(prompt.step).retried["truncated" if cut(reply) else "unparsed"] += 1
                request = shorter(request, reply) if cut(reply) else again(request, reply, error)
        assert reply is not None
        return self._fail(prompt, "truncated" if cut(reply) else "unparsed", error, reply.text)

    def _fail(self, prompt: Prompt, reason: str, detail: str, reply: str) -> None:
        self.count(prompt.step).failed[reason] += 1
        self.losses.append(prompt.lost(reason, detail, reply))

    def _charge(self, step: str, reply: ChatReply) -> None:
        count = self.count(step)
        count.input_tokens += reply.input_tokens
        count.output_tokens += reply.output_tokens
        count.cached_tokens += reply.cached_tokens
        self.cost["prompts"] += 1
        self.cost["input_tokens"] += reply.input_tokens
        self.cost["output_tokens"] += reply.output_tokens
        self.cost["cached_tokens"] += reply.cached_tokens


def cut(reply: ChatReply) -> bool:
    """Whether the reply ended at its token limit."""
    return reply.finish_reason == "length"


def shorter(request: ChatRequest, reply: ChatReply) -> ChatRequest:
    """The second try after a reply that was cut: the same prompt, for half as many items as there was room for.

    The cut reply is not shown: it may be as long as the context, and a model that repeats itself would go on.
    """
    items = max(1, reply.text.count('":') // max(1, keys(request.schema)) // 2)
    note = f"Keep the reply short: it was cut at {request.max_tokens} tokens."
    if listing(request.schema):
        note += f" List at most {items}, the most important first."
    *before, last = request.messages
    turns = (*before, Message(role=last["role"], content=f"{last['content']}\n\n{note}"))
    schema = at_most(request.schema, items) if request.schema else None
    return replace(request, request_id=f"{request.request_id}-2", messages=turns, schema=schema)


def keys(schema: dict[str, Any] | None) -> int:
    """How many keys one item of a reply's list has, or the reply itself where it has no list."""
    return len((listing(schema) or schema or {}).get("properties", {}))


def listing(schema: dict[str, Any] | None) -> dict[str, Any]:
    """The schema of the items of a reply's list; empty for a reply that has none."""
    properties = (schema or {}).get("properties", {})
    return next((value["items"] for value in properties.values() if "items" in value), {})


def again(request: ChatRequest, reply: ChatReply, error: str) -> ChatRequest:
    """The second try: the first reply and what is wrong with it follow the prompt."""
    turns = (
        *request.messages,
        Message(role="assistant", content=reply.text),
        Message(role="user", content=f"That reply cannot be used: {error}. Reply again, with the JSON object only."),
    )
    return replace(request, request_id=f"{request.request_id}-2", messages=turns)
