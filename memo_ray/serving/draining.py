"""Counts the requests inside an application, and shuts its door before it is stopped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS = frozenset({"/healthz"})


class Door:
    """A way into an application that can be shut. Once closing, every new request is answered by `refusal`."""

    def __init__(self, refusal: ASGIApp) -> None:
        self._refusal = refusal
        self._inside = 0
        self.closing = False
        self._empty = asyncio.Event()
        self._empty.set()

    def guard(self, app: ASGIApp) -> ASGIApp:
        """`app` behind the door, as an ASGI middleware."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
                return await app(scope, receive, send)
            if self.closing:
                return await self._refusal(scope, receive, send)
            with self.passage():
                return await app(scope, receive, send)

        return guarded

    @contextmanager
    def passage(self) -> Iterator[None]:
        """Count one request as inside."""
        self._inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    async def close(self, seconds: float) -> None:
        """Let nobody in any more, and return once nobody is inside, or after `seconds`."""
        self.closing = True
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return
