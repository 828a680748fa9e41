"""Rates and waits, on a clock of the test's own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest

from memo_ray.config.models import RateLimit
from memo_ray.models.limits import RateLimiter, backoff_s, retry_after_s, within


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


def admitted(config: RateLimit | None, count: int, tokens: int) -> list[float]:
    """Seconds after the first at which each of `count` requests is let through."""

    async def ask() -> list[float]:
        clock = Clock()
        limiter, times = RateLimiter(config, clock, clock.sleep), []
        for _ in range(count):
            await limiter.admit(tokens)
            times.append(round(clock.now - 100, 6))
        return times

    return asyncio.run(ask())


def test_requests_a_minute_hold_over_any_minute() -> None:
    times = admitted(RateLimit(requests_per_minute=60), 200, 0)
    assert times[:6] == [0, 0, 0, 0, 0, 1]
    assert all(sum(start <= time < start + 60 for time in times) <= 65 for start in times)


def test_tokens_a_minute_hold_also_for_a_prompt_larger_than_the_burst() -> None:
    times = admitted(RateLimit(tokens_per_minute=6000), 4, 3000)
    assert [round(later - time) for time, later in pairwise(times)] == [25, 30, 30]


def test_without_a_rate_nobody_waits() -> None:
    assert admitted(None, 50, 10**9) == [0.0] * 50


def test_an_estimate_is_corrected_by_what_was_used() -> None:
    async def ask(used: int) -> float:
        clock = Clock()
        limiter = RateLimiter(RateLimit(tokens_per_minute=600), clock, clock.sleep)
        await limiter.admit(1000)
        limiter.settle(1000, used)
        await limiter.admit(1)
        return clock.now - 100

    assert asyncio.run(ask(10)) < 1 < asyncio.run(ask(1000))


def test_a_pause_holds_everybody() -> None:
    async def ask() -> float:
        clock = Clock()
        limiter = RateLimiter(None, clock, clock.sleep)
        limiter.pause(7)
        limiter.pause(3)
        await limiter.admit(1)
        return clock.now - 100

    assert asyncio.run(ask()) == 7


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({}, None),
    ],
)
def test_what_a_response_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


def test_a_date_to_come_is_so_many_seconds_away() -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 80 < (retry_after_s({"retry-after": when}) or 0) <= 90


def test_backoff_doubles_up_to_a_minute() -> None:
    assert [backoff_s(attempt, lambda: 1.0) for attempt in (0, 1, 2, 10)] == [0.5, 1.0, 2.0, 60.0]
    assert backoff_s(3, lambda: 0.0) == 2.0


SLOW = RateLimit(requests_per_minute=300)
"""A request every 0.2 s, and a burst of 25, which `drained` takes."""


async def drained() -> RateLimiter:
    limiter = RateLimiter(SLOW)
    for _ in range(25):
        await limiter.admit(1)
    return limiter


def test_waiting_for_a_rate_takes_no_time() -> None:
    async def ask(limiter: RateLimiter, stalls: float) -> None:
        async with within(0.1):
            await limiter.admit(1)
            await asyncio.sleep(stalls)

    async def run() -> None:
        limiter = await drained()
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(ask(limiter, 0.01) for _ in range(5)))
        assert asyncio.get_running_loop().time() - began > 0.9
        with pytest.raises(TimeoutError):
            await ask(limiter, 5.0)

    asyncio.run(run())


def test_the_time_goes_on_after_the_last_of_several_waits() -> None:
    async def ask(limiter: RateLimiter, waited: list[float]) -> None:
        clock = asyncio.get_running_loop().time
        async with within(0.2):
            await asyncio.sleep(0.1)
            began = clock()
            await asyncio.gather(*(limiter.admit(1) for _ in range(4)))
            waited.append(clock() - began)
            await asyncio.sleep(5)

    async def run() -> None:
        limiter, waited = await drained(), list[float]()
        with pytest.raises(TimeoutError):
            await ask(limiter, waited)
        assert waited[0] > 0.5

    asyncio.run(asyncio.wait_for(run(), 4))
