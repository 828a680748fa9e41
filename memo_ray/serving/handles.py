"""Calls from one Serve deployment to another: a ChatModel over a deployment handle, and the gateway's backend.

Cancelling a call cancels it in the other replica too, so that vLLM stops generating. Ray's own failures come
out as GenerationError or Busy; what a replica raised on purpose comes out as it was raised.
"""

from __future__ import annotations

import asyncio
import contextvars
import dataclasses
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import lru_cache
from typing import Any

from grpc import RpcError, StatusCode
from grpc.aio import AioRpcError
from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

from memo_ray.errors import ConfigError, GenerationError, MemoError
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.serving.backend import Busy, Listed, NoLedger
from memo_ray.serving.roster import Target
from memo_ray.serving.status import APPLICATION, deployment_states

logger = logging.getLogger(__name__)

WAIT_FOR_PLACE_S = 0.05
"""Seconds between tries of a call whose queue is full."""

CALL_FAILURES = (RayTaskError, RayActorError, TaskCancelledError, RayServeException, RpcError)


class ModelOutage(MemoError, RuntimeError):
    """A model answers nothing at all. No GenerationError, which costs the protocol one turn: this ends the question."""


def direct(handle: DeploymentHandle) -> DeploymentHandle:
    """The handle for calls from here straight to the replica over gRPC, with Ray's token and TLS where the cluster has
    them. A third of what Ray's actor calls cost, for messages of up to 4 MiB."""
    return handle.options(_by_reference=False)


async def reply_of(response: Any, name: str) -> Any:
    """What the deployment `name` returned (`response`: a DeploymentResponse). Cancelling the wait cancels the call."""
    try:
        return await response
    except asyncio.CancelledError as error:
        response.cancel()
        if is_cancelled():
            raise
        raise failure_of(error, name) from error
    except BackPressureError:
        raise
    except CALL_FAILURES as error:
        raise failure_of(error, name) from error


async def items_of(handle: DeploymentHandle, method: str, name: str, *arguments: Any) -> AsyncIterator[Any]:
    """What the deployment's generator yields. Closing the iterator cancels the call."""
    response: Any = handle.options(method_name=method, stream=True).remote(*arguments)
    finished = False
    try:
        async for item in response:
            yield item
        finished = True
    except BackPressureError:
        finished = True
        raise
    except CALL_FAILURES as error:
        finished = True
        raise failure_of(error, name) from error
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise failure_of(error, name) from error
    finally:
        if not finished:
            response.cancel()


def is_cancelled() -> bool:
    """Whether who waits is cancelled. A call that was cancelled in the other replica ends with the same exception."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def failure_of(error: BaseException, name: str) -> Exception:
    """The error that the replica raised, or one clear line for a replica that is gone."""
    if isinstance(error, RayTaskError):
        return error.cause if isinstance(error.cause, Exception) else error
    if isinstance(error, DeploymentUnavailableError):
        return GenerationError(f"{name}: the deployment could not be started; see its replica's log")
    if isinstance(error, AioRpcError) and error.code() == StatusCode.RESOURCE_EXHAUSTED:
        return GenerationError(
            f"{name}: the question or the answer is longer than calls between Serve's replicas may be "
            "(RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH, 4 MiB)"
        )
    return GenerationError(f"{name}: its replica ended while it answered; Serve starts another one, ask again")


class HandleChatModel:
    """One question's view of the memory's or the executive's deployment, as a ChatModel.

    Raises ModelOutage, which ends the question, once `patience` calls failed and none was answered: that is an
    outage, and an answer made without the model would only look like one.
    """

    def __init__(self, handle: DeploymentHandle, name: str, patience: float, adapter: str = "") -> None:
        self.name = name
        self._handle = handle
        self._patience = patience
        self._adapter = adapter
        self._replies = 0
        self._failures = 0

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The deployment's reply; while its queue is full, the call waits for a seat."""
        while True:
            try:
                reply = ChatReply(**await reply_of(self._handle.chat.remote(self._fields(request)), self.name))
            except BackPressureError:
                # The question was let in at the gateway; the queue is full of its own kind and drains by itself.
                await asyncio.sleep(WAIT_FOR_PLACE_S)
            except GenerationError as error:
                self._failures += 1
                self.check(self._patience, error)
                raise
            else:
                self._replies += 1
                return reply

    def silent(self, patience: float = 1) -> bool:
        """Whether at least `patience` calls failed and none was answered."""
        return self._failures >= patience and not self._replies

    def check(self, patience: float = 1, error: Exception | None = None) -> None:
        """Raise ModelOutage for a model that is `silent`."""
        if self.silent(patience):
            raise ModelOutage(f"the {self.name} does not answer: {error or 'every call failed'}")

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The reply's text piece by piece, then the whole reply."""
        async for piece in items_of(self._handle, "stream", self.name, self._fields(request)):
            yield piece if isinstance(piece, str) else ChatReply(**piece)

    async def close(self) -> None:
        """Nothing is held: the deployment outlives its callers."""

    def _fields(self, request: ChatRequest) -> dict[str, Any]:
        return fields_of(request) | {"adapter": self._adapter}


def fields_of(request: ChatRequest) -> dict[str, Any]:
    """A request's fields as they are: `asdict` would copy its schema, which is about to be pickled anyway."""
    return {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}


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
