"""Calls from one Serve deployment to another: a ChatModel over a deployment handle, and the gateway's backend.

Cancelling a call cancels it in the other replica too, so that vLLM stops generating. Ray's own failures come
out as GenerationError or Busy; what a replica raised on purpose comes out as it was raised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import DeploymentStatusOverview

from memo_ray.errors import GenerationError, MemoError
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.serving.backend import Busy

APPLICATION = "memo"
"""Serve's name of the application."""

WAIT_FOR_PLACE_S = 0.05
"""Seconds between tries of a call whose queue is full."""

CALL_FAILURES = (RayTaskError, RayActorError, TaskCancelledError, RayServeException)


class ModelOutage(MemoError, RuntimeError):
    """A model answers nothing at all. No GenerationError, which costs the protocol one turn: this ends the question."""


async def reply_of(response: Any, name: str) -> Any:
    """What the deployment `name` returned (`response`: a DeploymentResponse). Cancelling the wait cancels the call."""
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise
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
    finally:
        if not finished:
            response.cancel()


def failure_of(error: Exception, name: str) -> Exception:
    """The error that the replica raised, or one clear line for a replica that is gone."""
    if isinstance(error, RayTaskError):
        return error.cause if isinstance(error.cause, Exception) else error
    if isinstance(error, DeploymentUnavailableError):
        return GenerationError(f"{name}: the deployment could not be started; see its replica's log")
    return GenerationError(f"{name}: its replica ended while it answered; Serve starts another one, ask again")


class HandleChatModel:
    """One question's view of the memory's or the executive's deployment, as a ChatModel.

    Raises ModelOutage, which ends the question, once `patience` calls failed and none was answered: that is an
    outage, and an answer made without the model would only look like one.
    """

    def __init__(self, handle: DeploymentHandle, name: str, patience: int) -> None:
        self.name = name
        self._handle = handle
        self._patience = patience
        self._replies = 0
        self._failures = 0

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The deployment's reply; while its queue is full, the call waits for a seat."""
        while True:
            try:
                reply = ChatReply(**await reply_of(self._handle.chat.remote(asdict(request)), self.name))
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

    def check(self, patience: int, error: Exception | None = None) -> None:
        """Raise ModelOutage when at least `patience` calls failed and none was answered."""
        if self._failures >= patience and not self._replies:
            raise ModelOutage(f"the {self.name} does not answer: {error or 'every call failed'}")

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The reply's text piece by piece, then the whole reply."""
        async for piece in items_of(self._handle, "stream", self.name, asdict(request)):
            yield piece if isinstance(piece, str) else ChatReply(**piece)

    async def close(self) -> None:
        """Nothing is held: the deployment outlives its callers."""


class HandleBackend:
    """The gateway's Backend over the handles of the other deployments."""

    def __init__(self, models: dict[str, DeploymentHandle], protocol: DeploymentHandle) -> None:
        self._models = models
        self._protocol = protocol

    async def chat(self, model: str, request: ChatRequest) -> ChatReply:
        """The reply of one model alone."""
        with busy():
            return ChatReply(**await reply_of(self._models[model].chat.remote(asdict(request)), model))

    async def stream(self, model: str, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The same, piece by piece, then the whole reply."""
        with busy():
            async for piece in items_of(self._models[model], "stream", model, asdict(request)):
                yield piece if isinstance(piece, str) else ChatReply(**piece)

    async def answer(self, answer_id: str, question: str) -> dict[str, Any]:
        """The whole protocol's answer."""
        with busy():
            return await reply_of(self._protocol.answer.remote(answer_id, question), "protocol")

    async def events(self, answer_id: str, question: str) -> AsyncIterator[dict[str, Any]]:
        """The protocol's stage events, then the answer."""
        with busy():
            async for item in items_of(self._protocol, "events", "protocol", answer_id, question):
                yield item

    async def health(self) -> dict[str, str]:
        """The state of each deployment."""
        # A blocking call to Serve's controller.
        return await asyncio.to_thread(deployment_states)


def deployment_states() -> dict[str, str]:
    """The state of each of the application's deployments, as Serve's controller sees it; STARTING: none is up yet."""
    application = serve.status().applications.get(APPLICATION)
    if application is None:
        return {"application": "NOT_FOUND"}
    return {name: state_of(deployment) for name, deployment in application.deployments.items()}


def state_of(deployment: DeploymentStatusOverview) -> str:
    """Serve's word for the deployment's state, but STARTING while no replica of it can answer yet."""
    # Serve's keys are members of an enumeration in the controller and plain text once they have travelled.
    states = {getattr(state, "value", state): count for state, count in deployment.replica_states.items()}
    up = states.get("RUNNING", 0) + states.get("UPDATING", 0)
    return "STARTING" if deployment.status.value == "UPDATING" and not up else deployment.status.value


@contextmanager
def busy() -> Iterator[None]:
    """Serve's refusal of a call whose queue is full, in the gateway's words."""
    try:
        yield
    except BackPressureError as error:
        raise Busy("every place is taken and the queue is full; ask again in a moment") from error
