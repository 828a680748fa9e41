"""Runs the protocol over chat models with asyncio: asks in parallel, cancels, keeps time and the transcript.

Serving, evaluation and tests all answer questions through `run_protocol`. The rules are in `protocol.advance`;
nothing is decided here.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.models.chat import ChatModel, ChatReply, ChatRequest
from memo_ray.protocol.protocol import advance, start
from memo_ray.protocol.routing import ANY, Router
from memo_ray.protocol.state import (
    Ask,
    Asked,
    Cancel,
    Deadline,
    Done,
    Effects,
    Emit,
    Event,
    Evidence,
    Failed,
    Passage,
    Reply,
    Retrieve,
    Retrieved,
    StageFacts,
)
from memo_ray.protocol.transcript import header, line


@dataclass(frozen=True, slots=True)
class Outcome:
    """A question's end. `transcript`: JSON lines that `protocol.replay` takes. `seconds`: from question to answer."""

    done: Done
    transcript: tuple[str, ...]
    seconds: float
    seconds_by_stage: dict[str, float]

    @property
    def answer(self) -> str:
        """The final answer."""
        return self.done.answer

    @property
    def justification(self) -> str:
        """Why it is the answer."""
        return self.done.justification

    @property
    def citations(self) -> tuple[Evidence, ...]:
        """The memory's answers that support the answer."""
        return self.done.citations

    @property
    def stages(self) -> tuple[StageFacts, ...]:
        """What each stage did and cost."""
        return self.done.stages

    @property
    def input_tokens(self) -> int:
        """Prompt tokens of both models over all stages."""
        return sum(stage.executive_input_tokens + stage.memory_input_tokens for stage in self.stages)

    @property
    def output_tokens(self) -> int:
        """Generated tokens of both models over all stages."""
        return sum(stage.executive_output_tokens + stage.memory_output_tokens for stage in self.stages)


class Retriever(Protocol):
    """Finds passages of the documents. May raise GenerationError when it cannot look."""

    async def retrieve(self, query: str, count: int) -> tuple[Passage, ...]:
        """At most `count` passages, the best first; none when nothing fits."""
        ...


Memories = ChatModel | Mapping[str, ChatModel]
"""The memory, or several by the names that `ProtocolConfig.memories` lists."""


@dataclass
class Transport:
    """The asks that are under way as asyncio tasks, and the clock."""

    executive: ChatModel
    memories: Mapping[str, ChatModel]
    retriever: Retriever | None
    router: Router | None
    run_id: str
    tasks: dict[str, asyncio.Task[Event]] = field(default_factory=dict)
    cancelled: list[asyncio.Task[Event]] = field(default_factory=list)

    def ask(self, ask: Ask) -> None:
        """Put an ask to its model."""
        self.begin(ask.id, self.reply_to(ask))

    def retrieve(self, lookup: Retrieve) -> None:
        """Look something up in the documents."""
        self.begin(lookup.id, self.found_by(lookup))

    def begin(self, ask_id: str, work: Coroutine[None, None, Event]) -> None:
        """Run `work` until it has the event for `ask_id`."""
        self.tasks[ask_id] = asyncio.create_task(work, name=f"{self.run_id}/{ask_id}")

    def cancel(self, ask_id: str) -> None:
        """Cancel an ask that is under way."""
        task = self.tasks.pop(ask_id)
        task.cancel()
        self.cancelled.append(task)

    async def reply_to(self, ask: Ask) -> Event:
        """The model's reply as an event. Any error but GenerationError ends the question."""
        request = ChatRequest(
            request_id=f"{self.run_id}/{ask.id}",
            messages=ask.messages,
            temperature=ask.temperature,
            max_tokens=ask.max_tokens,
            top_p=ask.top_p,
            schema=ask.schema,
        )
        try:
            if ask.memory == ANY:
                return await self.routed(ask.id, request)
            model = self.executive if ask.to == "executive" else self.memories[ask.memory]
            reply = await model.chat(request)
        except GenerationError as error:
            return Failed(ask.id, str(error))
        return Reply(ask.id, reply.text, reply.input_tokens, reply.output_tokens, reply.finish_reason)

    async def routed(self, ask_id: str, request: ChatRequest) -> Reply:
        """The answer that counts, of the memories that the router chooses; tokens are those of all of them.

        One that fails is passed over. Raises GenerationError when none answered.
        """
        assert self.router is not None  # run_protocol has checked
        question = request.messages[-1]["content"]
        names = self.router.choose(question)
        asks = (self.memories[name].chat(replace(request, request_id=f"{request.request_id}/{name}")) for name in names)
        came = dict(zip(names, await asyncio.gather(*asks, return_exceptions=True), strict=True))
        for error in came.values():
            if isinstance(error, BaseException) and not isinstance(error, GenerationError):
                raise error
        replies = {name: reply for name, reply in came.items() if isinstance(reply, ChatReply)}
        if not replies:
            raise GenerationError(f"no memory answered: {next(iter(came.values()))}")
        kept = self.router.keep(question, {name: reply.text for name, reply in replies.items()})
        return Reply(
            ask_id,
            replies[kept].text,
            sum(reply.input_tokens for reply in replies.values()),
            sum(reply.output_tokens for reply in replies.values()),
            replies[kept].finish_reason,
            kept,
        )

    async def found_by(self, lookup: Retrieve) -> Event:
        """The retriever's passages as an event."""
        assert self.retriever is not None  # run_protocol has checked
        try:
            return Retrieved(lookup.id, await self.retriever.retrieve(lookup.query, lookup.count))
        except GenerationError as error:
            return Failed(lookup.id, str(error))

    async def next_event(self, ends_at: float | None) -> Event:
        """The next reply, the first by id when several are there; Deadline when there is none by `ends_at`."""
        left = None if ends_at is None else max(0.0, ends_at - asyncio.get_running_loop().time())
        finished, _ = await asyncio.wait(self.tasks.values(), timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if not finished:
            return Deadline()
        ask_id = min(ask_id for ask_id, task in self.tasks.items() if task in finished)
        return self.tasks.pop(ask_id).result()

    async def close(self) -> None:
        """Cancel what is under way, and wait until the models have let go of it."""
        for ask_id in list(self.tasks):
            self.cancel(ask_id)
        await asyncio.gather(*self.cancelled, return_exceptions=True)


class Stopwatch:
    """Seconds by stage, told from the stage events."""

    def __init__(self, now: float) -> None:
        self.began = self.since = now
        self.stage = ""
        self.seconds: dict[str, float] = {}

    def switch(self, stage: str, now: float) -> None:
        """Book the time since the last switch under the stage that ran, and begin `stage`."""
        if self.stage:
            self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + now - self.since
        self.stage, self.since = stage, now


async def run_protocol(
    question: str,
    executive: ChatModel,
    memory: Memories,
    config: ProtocolConfig,
    on_emit: Callable[[Emit], None] | None = None,
    *,
    schema_enforced: bool = False,
    run_id: str | None = None,
    retriever: Retriever | None = None,
    router: Router | None = None,
    entity: str = "",
) -> Outcome:
    """Answer `question` with the protocol that `config` describes.

    `on_emit` is called with every stage event as it happens. `schema_enforced`: the executive's endpoint holds
    replies to their schema, so that unusable ones are not sent back for repair. `run_id` begins every request's
    id and must be unique among questions under way; none: a random one. `retriever`: needed with `hybrid`, `router`
    with `routing`. `entity`: the entity, where it is known (see Asked). Cancelling the call cancels its asks. Raises
    ProtocolError when the question is empty and ConfigError when a memory, the retriever or the router that `config`
    needs is missing; a model that cannot answer does not raise but degrades the answer.
    """
    memories = memories_of(memory, config)
    if config.hybrid is not None and retriever is None:
        raise ConfigError("protocol.hybrid: needs a retriever over the documents, and there is none here; leave it out")
    if config.routing is not None and router is None:
        raise ConfigError("protocol.routing: needs a router over the memories, and there is none here; leave it out")
    clock = asyncio.get_running_loop().time
    watch = Stopwatch(clock())
    ends_at = None if config.deadline_s is None else watch.began + config.deadline_s
    transport = Transport(executive, memories, retriever, router, run_id or uuid.uuid4().hex)
    lines = [header(config, schema_enforced), line(Asked(question, entity))]
    state, effects = start(question, config, schema_enforced, entity)
    try:
        while (done := carry_out(effects, transport, watch, on_emit)) is None:
            event = await transport.next_event(ends_at)
            lines.append(line(event))
            state, effects = advance(state, event)
    finally:
        await transport.close()
    watch.switch("", clock())
    return Outcome(done, tuple(lines), clock() - watch.began, watch.seconds)


def memories_of(memory: Memories, config: ProtocolConfig) -> Mapping[str, ChatModel]:
    """The memories by the names under which the machine asks them. Raises ConfigError for one that is missing."""
    names = config.memories or ("",)
    if not isinstance(memory, Mapping):
        if config.memories:
            raise ConfigError("protocol.memories: names several memories, but one without a name is served here")
        return {"": memory}
    missing = [name for name in names if name not in memory]
    if missing:
        known = ", ".join(memory) or "none"
        raise ConfigError(f"protocol.memories: {missing[0] or 'the memory'} is not served here; served: {known}")
    return memory


def carry_out(
    effects: Effects, transport: Transport, watch: Stopwatch, on_emit: Callable[[Emit], None] | None
) -> Done | None:
    """Do what one step of the machine asks for; the end, when it is among it."""
    done = None
    for effect in effects:
        if isinstance(effect, Ask):
            transport.ask(effect)
        elif isinstance(effect, Retrieve):
            transport.retrieve(effect)
        elif isinstance(effect, Cancel):
            transport.cancel(effect.id)
        elif isinstance(effect, Done):
            done = effect
        else:
            if effect.kind == "stage":
                watch.switch(effect.stage, asyncio.get_running_loop().time())
            if on_emit is not None:
                on_emit(effect)
    return done
