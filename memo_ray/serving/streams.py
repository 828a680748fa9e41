"""Time limits and heartbeats for a stream: any async iterator in, the same items out, with an end in sight."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

Item = TypeVar("Item")

HEARTBEAT = ": waiting\n\n"
"""A server-sent comment: keeps a connection open and says nothing."""


async def limited(items: AsyncIterator[Item], timeout_s: float, heartbeat_s: float) -> AsyncIterator[Item | None]:
    """`items`, and None whenever `heartbeat_s` pass without one.

    Raises TimeoutError `timeout_s` after the first was asked for. Closing it, or cancelling who waits on it,
    cancels what `items` is waiting for.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    # Not asyncio.timeout: the first item and the others are awaited by different tasks.
    pending: asyncio.Future[Item] | None = None
    try:
        while True:
            pending = asyncio.ensure_future(anext(items))
            while not pending.done():
                left = end - loop.time()
                if left <= 0:
                    raise TimeoutError
                await asyncio.wait({pending}, timeout=min(left, heartbeat_s))
                if not pending.done() and loop.time() < end:
                    yield None
            try:
                item = pending.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        if pending is not None and not pending.done():
            pending.cancel()
            await asyncio.wait({pending})
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()
