"""A ChatModel around an engine: keeps replies for a later try, and calls an engine dead that has stopped to answer."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

from memo_ray.errors import EngineDied
from memo_ray.models.chat import ChatModel, ChatReply, ChatRequest
from memo_ray.models.journal import TOKENS, Journal


class JournaledModel:
    """Asks `model` every request once, and not at all where the journal knows its reply; keeps every reply in it.

    By request id, which must hash all that shapes the reply, as that of a synthesis's prompt does. `cost`: replies
    (`prompts`) and their tokens, each counted once however often it was given.
    """

    def __init__(self, model: ChatModel, journal: Journal) -> None:
        self.name = model.name
        self.cost: Counter[str] = Counter()
        self._model, self._journal = model, journal
        self._given: dict[str, ChatReply] = {}

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The reply that was given or kept, or a new one."""
        key = request.request_id
        reply = self._given.get(key)
        if reply is None:
            reply = self._journal.get(key)
            if reply is None:
                reply = await self._model.chat(request)
                self._journal.put(key, reply)
            self._given[key] = reply
            self.cost["prompts"] += 1
            for name in TOKENS:
                self.cost[name] += getattr(reply, name)
        return reply

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The whole reply as one piece, then as a ChatReply."""
        reply = await self.chat(request)
        yield reply.text
        yield reply

    async def close(self) -> None:
        """Free what the model holds."""
        await self._model.close()


class WatchedModel:
    """Raises EngineDied for every prompt in flight once `model` has answered none of them for `patience_s`."""

    def __init__(self, model: ChatModel, patience_s: float) -> None:
        self.name = model.name
        self._model, self._patience_s = model, patience_s
        self._in_flight, self._progress = 0, 0.0

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The model's reply."""
        if not self._in_flight:
            self._progress = time.monotonic()
        self._in_flight += 1
        asked = asyncio.ensure_future(self._model.chat(request))
        try:
            while not asked.done():
                left = self._progress + self._patience_s - time.monotonic()
                if left <= 0:
                    raise EngineDied(f"model {self.name}: no reply in {self._patience_s:.0f} s; raise no_progress_s "
                                     "if its replies may take so long")  # fmt: skip
                await asyncio.wait({asked}, timeout=left)
            return asked.result()
        finally:
            self._in_flight -= 1
            self._progress = time.monotonic() if asked.done() else self._progress
            asked.cancel()

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The whole reply as one piece, then as a ChatReply."""
        reply = await self.chat(request)
        yield reply.text
        yield reply

    async def close(self) -> None:
        """Free what the model holds."""
        await self._model.close()
