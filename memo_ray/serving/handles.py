"""The gateway's backend over the handles of the other deployments. A full queue comes out as Busy."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from memo_ray.errors import ConfigError, GenerationError
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.serving.backend import Busy, Listed, NoLedger
from memo_ray.serving.calls import direct, fields_of, items_of, reply_of
from memo_ray.serving.roster import Target
from memo_ray.serving.status import APPLICATION, deployment_states

logger = logging.getLogger(__name__)


class HandleBackend:
    """The gateway's Backend over the handles of the other deployments.

    `models`: those that may be asked alone. `memories`: the deployment that knows the registered memories; none: the
    one memory of `models` is served. `ledger`: that memory's, if it has one.
    """

    def __init__(
        self,
        models: dict[str, DeploymentHandle],
        protocol: DeploymentHandle,
        memories: DeploymentHandle | None = None,
        ledger: DeploymentHandle | None = None,
    ) -> None:
        # A body may be as long as serving.max_request_kb allows, and a page as long as its documents' texts.
        self._models = models
        self._ledger = ledger
        self._protocol = direct(protocol)
        self._memories = memories and direct(memories)
        self._returning: set[asyncio.Task[None]] = set()

    async def memories(self) -> tuple[str, ...]:
        """The registered memories that may be asked now."""
        return () if self._memories is None else await reply_of(self._memories.names.remote(), "memories")

    async def chat(self, model: str, request: ChatRequest) -> ChatReply:
        """The reply of one model alone."""
        with busy():
            async with self._asked_alone(model, request) as (handle, fields):
                return ChatReply(**await reply_of(handle.chat.remote(fields), model))

    async def stream(self, model: str, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The same, piece by piece, then the whole reply."""
        with busy():
            async with self._asked_alone(model, request) as (handle, fields):
                async for piece in items_of(handle, "stream", model, fields):
                    yield piece if isinstance(piece, str) else ChatReply(**piece)

    async def answer(self, answer_id: str, question: str, memories: tuple[str, ...]) -> dict[str, Any]:
        """The whole protocol's answer."""
        with busy():
            async with self._leased(memories) as targets:
                return await reply_of(self._protocol.answer.remote(answer_id, question, targets), "protocol")

    async def events(self, answer_id: str, question: str, memories: tuple[str, ...]) -> AsyncIterator[dict[str, Any]]:
        """The protocol's stage events, then the answer."""
        with busy():
            async with self._leased(memories) as targets:
                async for item in items_of(self._protocol, "events", "protocol", answer_id, question, targets):
                    yield item

    async def browse(self, memory: str, what: Listed, query: dict[str, Any]) -> dict[str, Any] | None:
        """A page of what a memory was made from. Raises NoLedger."""
        with busy():
            async with self._leased((memory,)) as targets:
                ledger = handle_of("ledger", targets[0].ledger) if targets and targets[0].ledger else self._ledger
                if ledger is None:
                    raise NoLedger
                return await reply_of(ledger.browse.remote(what, query), "ledger")

    async def table(self) -> list[dict[str, Any]]:
        """The registered memories and where each is on its way."""
        return [] if self._memories is None else await reply_of(self._memories.table.remote(), "memories")

    async def swap(self, memory: str) -> None:
        """Have another version of a memory served. Raises ConfigError, StoreError."""
        if self._memories is None:
            raise ConfigError("serving.memories: is empty here; name the memories that the registry is to give")
        await reply_of(self._memories.swap.remote(memory), "memories")

    async def health(self) -> dict[str, str]:
        """The state of each deployment."""
        # A blocking call to Serve's controller.
        states = await asyncio.to_thread(deployment_states, APPLICATION)
        for row in await self.table():
            # A memory that is served answers, whatever comes beside it; one that is still awaited does not.
            states[f"memory {row['entry']}"] = row["health"]
        return states

    @asynccontextmanager
    async def _asked_alone(
        self, model: str, request: ChatRequest
    ) -> AsyncIterator[tuple[DeploymentHandle, dict[str, Any]]]:
        """The deployment that a model means, and what to send it."""
        kind, _, memory = model.partition("/")
        if kind in self._models:
            yield self._models[kind], fields_of(request)
            return
        async with self._leased((memory,)) as (target,):
            yield handle_of("memory", target.application), fields_of(request) | {"adapter": target.adapter}

    @asynccontextmanager
    async def _leased(self, memories: tuple[str, ...]) -> AsyncIterator[tuple[Target, ...]]:
        """The versions of these memories that answer a question, kept until it is over; none without a registry."""
        if self._memories is None:
            yield ()
            return
        lease_id, targets = await reply_of(self._memories.acquire.remote(memories), "memories")
        try:
            yield targets
        finally:
            # Outside of the request's context: a caller who leaves cancels all calls that were made within it.
            task = asyncio.create_task(self._release(lease_id), context=contextvars.Context())
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)

    async def _release(self, lease_id: str) -> None:
        assert self._memories is not None  # who leased has them
        try:
            await reply_of(self._memories.release.remote(lease_id), "memories")
        except (GenerationError, RayError) as error:
            logger.warning("a lease could not be returned and runs out by itself: %s", error)


@lru_cache(maxsize=256)
def handle_of(deployment: str, application: str) -> DeploymentHandle:
    """The handle of a deployment in an application that was started later. Applications' names are never used twice."""
    return serve.get_deployment_handle(deployment, application)


@contextmanager
def busy() -> Iterator[None]:
    """Serve's refusal of a call whose queue is full, in the gateway's words."""
    try:
        yield
    except BackPressureError as error:
        raise Busy("every place is taken and the queue is full; ask again in a moment") from error
