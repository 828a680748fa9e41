"""Many questions at once: at most so many under way, each given up after its time, finished ones as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from memo_ray.errors import GenerationError
from memo_ray.evaluation.systems.system import Failed, Query, Said
from memo_ray.models.limits import within


@dataclass(frozen=True, slots=True)
class Pace:
    """How many questions at once, and the seconds that one may take, without those it waits for an endpoint's rate."""

    at_once: int = 16
    timeout_s: float = 900.0


async def each(
    queries: Sequence[Query], work: Callable[[Query], Awaitable[Said | Failed]], pace: Pace
) -> AsyncIterator[Said | Failed]:
    """`work` on every query, yielded as finished. What stalls or fails is a Failed, and the rest goes on."""
    places = asyncio.Semaphore(pace.at_once)

    async def one(query: Query) -> Said | Failed:
        async with places:
            try:
                async with within(pace.timeout_s):
                    return await work(query)
            except TimeoutError:
                return Failed(query.question_id, "stalled", f"no answer within {pace.timeout_s:g} s")
            except GenerationError as error:
                return Failed(query.question_id, "generation_error", str(error))

    tasks = [asyncio.create_task(one(query)) for query in queries]
    try:
        for task in asyncio.as_completed(tasks):
            yield await task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
