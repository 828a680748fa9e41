"""The memory's or the executive's deployment as a ChatModel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from memo_ray.errors import GenerationError, MemoError
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.serving.calls import fields_of, items_of, reply_of

WAIT_FOR_PLACE_S = 0.05
"""Seconds between tries of a call whose queue is full."""


class ModelOutage(MemoError, RuntimeError):
    """A model answers nothing at all. No GenerationError, which costs the protocol one turn: this ends the question."""


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
        self._together: list[tuple[ChatRequest, asyncio.Future[ChatReply]]] = []

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The deployment's reply; while its queue is full, the call waits for a seat.

        Requests that are made in the same turn of the event loop, as a turn's sub-questions are, share one call: what a
        call costs both replicas is many times what its texts do.
        """
        while True:
            try:
                reply = await self._put(request)
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

    def _put(self, request: ChatRequest) -> asyncio.Future[ChatReply]:
        """The reply to come. The call is made once everything that is ready to run has had its turn."""
        loop = asyncio.get_running_loop()
        if not self._together:
            loop.call_soon(self._send)
        reply: asyncio.Future[ChatReply] = loop.create_future()
        self._together.append((request, reply))
        return reply

    def _send(self) -> None:
        """Make one call of what came together; it is cancelled when nobody waits for a reply any more."""
        together, self._together = self._together, []
        requests, replies = [self._fields(request) for request, _ in together], [reply for _, reply in together]
        call = asyncio.create_task(self._call(requests, replies))

        def left(_: asyncio.Future[ChatReply]) -> None:
            if all(reply.done() for reply in replies) and any(reply.cancelled() for reply in replies):
                call.cancel()

        def ended(_: asyncio.Task[None]) -> None:
            error = None if call.cancelled() else call.exception()
            for reply in replies:
                if not reply.done():
                    reply.cancel() if error is None else reply.set_exception(error)

        for reply in replies:
            reply.add_done_callback(left)
        call.add_done_callback(ended)

    async def _call(self, requests: list[dict[str, Any]], replies: list[asyncio.Future[ChatReply]]) -> None:
        """Fill in `replies` as they come. What ends the call ends the waiting for those that have not come."""
        if len(requests) == 1:
            tell(replies[0], await reply_of(self._handle.chat.remote(requests[0]), self.name))
            return
        async with aclosing(items_of(self._handle, "chats", self.name, requests)) as items:
            async for place, reply in items:
                tell(replies[place], reply)

    def _fields(self, request: ChatRequest) -> dict[str, Any]:
        return fields_of(request) | {"adapter": self._adapter}


def tell(waiting: asyncio.Future[ChatReply], reply: dict[str, Any] | Exception) -> None:
    """Give who waits, if anybody still does, a ChatReply of these fields, or this error."""
    if waiting.done():
        return
    if isinstance(reply, Exception):
        waiting.set_exception(reply)
    else:
        waiting.set_result(ChatReply(**reply))
