"""What the gateway needs behind it: two models and the protocol. In production Ray Serve handles stand there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from memo_ray.models.chat import ChatReply, ChatRequest


class Busy(Exception):
    """Every place and every seat in the queue is taken; ask again in a moment."""


class Backend(Protocol):
    """Raises GenerationError where a model cannot answer, and Busy where there is no place. Cancelling a call,
    or closing a stream, stops what the models generate for it."""

    async def chat(self, model: str, request: ChatRequest) -> ChatReply:
        """The reply of `model` ("memory" or "executive") alone."""
        ...

    def stream(self, model: str, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The same, as text piece by piece; the last item is the whole reply."""
        ...

    async def answer(self, answer_id: str, question: str) -> dict[str, Any]:
        """The answer of the whole protocol, in the shape of POST /v1/answers."""
        ...

    def events(self, answer_id: str, question: str) -> AsyncIterator[dict[str, Any]]:
        """The protocol's stage events, each {"event": ...}; the last item is {"answer": ...} as `answer` gives it."""
        ...

    async def health(self) -> dict[str, str]:
        """The state of every deployment by name; HEALTHY and the states of scaling are good."""
        ...
