"""The engines of a synthesis: each started once, in an actor of its own, and lent to the workers of pass after pass.

A worker of Ray Data lives as long as one execution, an engine as long as the run. Between them stands the lender, an
actor on the driver's node that knows which worker has which engine, and starts engines while workers ask for more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from memo_ray.artifacts.place import Location
from memo_ray.config.models import ModelConfig, VllmModel
from memo_ray.errors import EngineDied, GenerationError, MemoError
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.models.opening import Opener, open_model
from memo_ray.models.ray_engine import EngineActor, actor_resources
from memo_ray.synthesis.worker import RowWorker, WorkerOpener

WORKER_CPUS = 0.1
"""What Ray reserves for a worker, which mostly waits; of its core an engine takes the rest."""

PROMPTS_AT_ONCE = 10_000
"""Calls that an engine's actor works on at once: above what the chunks in flight ask. The engine itself queues them."""

ANSWER_S = 60.0
"""What an engine's actor is given to say that it lives, before it is lent."""

CLOSING_S = 30.0
"""What an engine is given to stop its processes before its actor is killed."""


class Engines:
    """What a synthesis asks: its engines, or its endpoint, which has none. `close` it; it is a context manager."""

    def __init__(self, config: ModelConfig, model: Location | None, opener: Opener = open_model) -> None:
        """`model`: the folder of an engine's weights, which every node must reach. `opener` opens the model, in the
        engine's actor or, an endpoint's client, in the worker. Nothing is started before a worker asks."""
        self._config, self._opener = config, opener
        self._lender: Any = None
        if isinstance(config, VllmModel):
            resources = actor_resources(config, config.replicas) | {"num_cpus": 1 - WORKER_CPUS}
            self._lender = on_this_node(Lender).remote(config, model, opener, resources)

    def lend(self) -> WorkerOpener:
        """What the workers of the next execution open their models with; those of the last one have no more."""
        if self._lender is None:
            return partial(self._opener, self._config, None)
        return Loan(self._lender, ray.get(self._lender.next_turn.remote()), self._config.model)

    def starts(self) -> list[float]:
        """The seconds that every start of an engine took."""
        return ray.get(self._lender.starts.remote()) if self._lender is not None else []

    def close(self) -> None:
        """Stop all engines and the lender; safe to call again."""
        lender, self._lender = self._lender, None
        if lender is None:
            return
        try:
            with suppress(RayError):
                ray.get(lender.close.remote(), timeout=2 * CLOSING_S)
        finally:
            # Engines that are left belong to the lender and die with it.
            ray.kill(lender)

    def __enter__(self) -> Engines:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(eq=False)
class Lendable:
    """An engine of the lender. `ready` ends when it answers prompts, or cannot be started."""

    actor: Any
    ready: asyncio.Task[None] = field(init=False)


class Lender:
    """The actor that starts the engines; methods run on its event loop. One worker has one engine."""

    def __init__(self, config: VllmModel, model: Location | None, opener: Opener, resources: dict[str, Any]) -> None:
        self._arguments = config, model, opener
        self._remote: Any = ray.remote(EngineActor).options(
            max_restarts=0, max_concurrency=PROMPTS_AT_ONCE, **resources
        )
        self._engines: list[Lendable] = []
        self._lent: dict[str, Lendable] = {}
        self._turn, self._over = 0, asyncio.Event()
        self._starts: list[float] = []
        self._refused: MemoError | None = None

    async def next_turn(self) -> int:
        """Take all engines back; the number of the turn that begins. Workers that still wait are sent away."""
        self._turn += 1
        self._lent.clear()
        self._over.set()
        self._over = asyncio.Event()
        return self._turn

    async def lend(self, worker: str, turn: int) -> Any:
        """The actor of the engine that `worker` has, or of a free or new one once it is ready.

        Raises EngineDied when that one died while it started, GenerationError or ConfigError when none will.
        """
        if self._refused is not None:
            raise self._refused
        while turn == self._turn:
            engine = self._lent.get(worker) or self._free() or self._start()
            self._lent[worker] = engine
            over = asyncio.ensure_future(self._over.wait())
            await asyncio.wait({engine.ready, over}, return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
            if turn != self._turn:
                break
            await engine.ready
            # It may have died with nobody asking: between two passes, or together with the worker and its node.
            try:
                await asyncio.wait_for(engine.actor.is_there.remote(), ANSWER_S)
            except (RayError, TimeoutError):
                await self._end(engine)
                continue
            return engine.actor
        raise GenerationError("this pass is over")

    async def bury(self, worker: str) -> None:
        """End the engine that `worker` has and found dead."""
        engine = self._lent.get(worker)
        if engine is not None:
            await self._end(engine)

    async def starts(self) -> list[float]:
        """The seconds of every start so far."""
        return self._starts

    async def close(self) -> None:
        """End all engines, and start no other: a worker that lives a moment longer would ask for one."""
        self._refused = GenerationError("the synthesis is over")
        await self.next_turn()
        await asyncio.gather(*map(self._end, tuple(self._engines)))

    def _free(self) -> Lendable | None:
        """An engine that nobody has, ready ones first: others may wait for a GPU that never comes."""
        free = [engine for engine in self._engines if engine not in self._lent.values()]
        return min(free, key=lambda engine: not engine.ready.done(), default=None)

    def _start(self) -> Lendable:
        engine = Lendable(self._remote.remote())
        engine.ready = asyncio.ensure_future(self._started(engine))
        self._engines.append(engine)
        return engine

    async def _started(self, engine: Lendable) -> None:
        try:
            self._starts.append(await engine.actor.start.remote(*self._arguments))
        except RayError as error:
            self._forget(engine)
            ray.kill(engine.actor)
            cause = memo_error(error, "it died while it started")
            if not isinstance(cause, EngineDied):
                self._refused = cause  # the next one would not start either
            raise cause from None

    def _forget(self, engine: Lendable) -> None:
        self._engines = [other for other in self._engines if other is not engine]
        self._lent = {worker: other for worker, other in self._lent.items() if other is not engine}

    async def _end(self, engine: Lendable) -> None:
        self._forget(engine)
        if engine.ready.done():
            with suppress(RayError, TimeoutError):  # dead or hung: it is ended just below
                await asyncio.wait_for(engine.actor.close.remote(), CLOSING_S)
        engine.ready.cancel()
        ray.kill(engine.actor)


class Loan:
    """A worker's way to its engine, through the lender; valid for one turn."""

    def __init__(self, lender: Any, turn: int, name: str) -> None:
        """`name`: the model's, for messages."""
        self._lender: Any = lender
        self._turn, self._name = turn, name
        self._first: Any = None

    def wait(self) -> None:
        """Block until the worker has an engine, or there is a reason why not, which the next call tells."""
        self._first = self._lender.lend.remote(this_actor(), self._turn)
        ray.wait([self._first])

    async def __call__(self, _: Path | None = None) -> LentModel:
        """The worker's engine. Raises what `Lender.lend` does."""
        first, self._first = self._first, None
        try:
            actor = await (first if first is not None else self._lender.lend.remote(this_actor(), self._turn))
        except RayTaskError as error:
            raise memo_error(error, "") from None
        except RayError as error:
            raise GenerationError(f"the actor that lends the engines died ({error}); run the command again") from error
        return LentModel(actor, self._lender, self._name)


class LentModel:
    """A ChatModel in a worker: an engine that another actor owns. To `close` it is to give it up for dead."""

    def __init__(self, actor: Any, lender: Any, name: str) -> None:
        self.name = name
        self._actor: Any = actor
        self._lender: Any = lender

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The engine's reply. Raises EngineDied when its actor is gone too, or the node of either."""
        try:
            (reply,) = await self._actor.chat.remote([request])
        except RayError as error:
            raise memo_error(error, "its actor or node was lost") from None
        return reply

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The whole reply as one piece, then as a ChatReply."""
        reply = await self.chat(request)
        yield reply.text
        yield reply

    async def close(self) -> None:
        """Have the lender end the engine."""
        await self._lender.bury.remote(this_actor())


class EngineWorker(RowWorker):
    """A worker that is not there before its engine is.

    Ray Data gives rows to none that is still being made, so no row waits for a GPU while other engines could have it.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        assert isinstance(self._opener, Loan)
        self._opener.wait()


def memo_error(error: RayError, otherwise: str) -> MemoError:
    """What an actor's method raised, without Ray's traceback; for anything that is not ours, EngineDied."""
    if isinstance(error, RayTaskError):
        if isinstance(error.cause, MemoError):
            return error.cause
        raise error
    return EngineDied(f"the engine: {otherwise} ({error})")


def this_actor() -> str:
    """The id of the actor that this code runs in, the same after its restart."""
    return ray.get_runtime_context().get_actor_id() or ""


def on_this_node(actor: type) -> Any:
    """`actor` as a remote class beside the driver: it takes no core, and is lost with the driver's node alone."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(actor).options(num_cpus=0, scheduling_strategy=here)
