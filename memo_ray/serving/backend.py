"""What the gateway needs behind it: models, protocol, memories. In production Ray Serve handles stand there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Literal, Protocol

from memo_ray.models.chat import ChatReply, ChatRequest

Listed = Literal["documents", "reflections", "spans"]
"""What of a memory's sources can be looked through."""


class NoLedger(Exception):
    """A memory is served without the tables of its corpora, so there is nothing to look through."""


class Busy(Exception):
    """Every place and every seat in the queue is taken; ask again in a moment."""


class Backend(Protocol):
    """Raises GenerationError where a model cannot answer, and Busy where there is no place. Cancelling a call,
    or closing a stream, stops what the models generate for it."""

    async def memories(self) -> tuple[str, ...]:
        """The registered memories that may be asked now, by NAME and by NAME@VERSION, the default one first; none
        where one memory is served that the registry does not name."""
        ...

    async def chat(self, model: str, request: ChatRequest) -> ChatReply:
        """The reply of `model` ("memory", "memory/NAME", "memory/NAME@VERSION" or "executive") alone."""
        ...

    def stream(self, model: str, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The same, as text piece by piece; the last item is the whole reply."""
        ...

    async def answer(self, answer_id: str, question: str, memories: tuple[str, ...]) -> dict[str, Any]:
        """The answer of the whole protocol with these memories ("": the default), in the shape of POST /v1/answers."""
        ...

    def events(self, answer_id: str, question: str, memories: tuple[str, ...]) -> AsyncIterator[dict[str, Any]]:
        """The protocol's stage events, each {"event": ...}; the last item is {"answer": ...} as `answer` gives it."""
        ...

    async def browse(self, memory: str, what: Listed, query: dict[str, Any]) -> dict[str, Any] | None:
        """A page of what a memory ("": the default) was made from; see `Shelf`. None: there is no such document.

        Raises NoLedger.
        """
        ...

    async def table(self) -> list[dict[str, Any]]:
        """The registered memories and where each is on its way, as GET /admin/memories shows them."""
        ...

    async def swap(self, memory: str) -> None:
        """Have NAME served by this version (NAME@VERSION), or follow the newest again (NAME); returns at once.

        Raises ConfigError, StoreError for one that is not served or not registered.
        """
        ...

    async def health(self) -> dict[str, str]:
        """The state of every deployment by name; HEALTHY and the states of scaling are good."""
        ...
