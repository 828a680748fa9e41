"""Time limits and heartbeats of a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from memo_ray.serving.streams import limited

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Slow:
    """Counts up, with a pause before each number; tells whether it was cancelled or closed."""

    def __init__(self, pauses: list[float]) -> None:
        self.pauses = pauses
        self.ended = ""

    async def numbers(self) -> AsyncIterator[int]:
        try:
            for number, pause in enumerate(self.pauses):
                await asyncio.sleep(pause)
                yield number
            self.ended = "finished"
        except asyncio.CancelledError:
            self.ended = "cancelled"
            raise
        except GeneratorExit:
            self.ended = "closed"
            raise


async def test_items_pass_and_silence_is_marked() -> None:
    slow = Slow([0, 0.05, 0])
    assert [item async for item in limited(slow.numbers(), 5, 0.02)].count(None) >= 1
    assert [item async for item in limited(Slow([0, 0.05, 0]).numbers(), 5, 1)] == [0, 1, 2]
    assert slow.ended == "finished"


async def test_the_limit_cancels_what_is_waited_for() -> None:
    slow = Slow([0, 10])
    paced = limited(slow.numbers(), 0.05, 1)
    assert await anext(paced) == 0
    with pytest.raises(TimeoutError):
        await anext(paced)
    assert slow.ended == "cancelled"


async def test_whoever_stops_listening_stops_the_source() -> None:
    waiting, between = Slow([0, 10]), Slow([0, 0])
    reader = asyncio.create_task(anext(limited(Slow([10]).numbers(), 5, 1)))  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader

    paced = limited(waiting.numbers(), 5, 1)
    assert await anext(paced) == 0
    rest = asyncio.create_task(anext(paced))  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    rest.cancel()
    with pytest.raises(asyncio.CancelledError):
        await rest
    assert waiting.ended == "cancelled"

    paced = limited(between.numbers(), 5, 1)
    assert await anext(paced) == 0
    await paced.aclose()  # type: ignore[attr-defined]
    assert between.ended == "closed"


async def test_an_error_of_the_source_comes_through() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ValueError("broken")

    paced = limited(broken(), 5, 1)
    assert await anext(paced) == 1
    with pytest.raises(ValueError, match="broken"):
        await anext(paced)
