"""How fast an endpoint may be asked, and how long to wait after it refused: requests and tokens a minute, Retry-After.

Plain asyncio; clock and sleep are arguments, so that a test needs no waiting. One limiter serves every request of a
client, so that an endpoint that says "later" to one is left alone by all.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from memo_ray.config.models import RateLimit

BURST_S = 5.0
"""Seconds of the rate that may be used at once after a pause."""
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 60.0
LONGEST_WAIT_S = 900.0
"""An endpoint that asks for more patience than this is given up."""


class Allowance:
    """An amount a minute, refilled steadily. Taking may leave a debt, which later takers wait for."""

    def __init__(self, per_minute: float, now: float) -> None:
        self._rate = per_minute / 60
        self._most = max(1.0, self._rate * BURST_S)
        self._left, self._at = self._most, now

    def wait_s(self, now: float) -> float:
        """Seconds until something may be taken; 0 when it may be now."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        # A whole unit must be there, or two requests a minute apart would become three.
        needed = min(1.0, self._most)
        return 0.0 if self._left >= needed - 1e-9 else (needed - self._left) / self._rate

    def take(self, amount: float) -> None:
        """Use `amount`; a negative one gives back what was estimated too high."""
        self._left -= amount


class TimeLimit:
    """A time-out that stands still while a request waits for its turn at a rate of our own."""

    def __init__(self, timer: asyncio.Timeout) -> None:
        self._timer = timer
        self._waiting = 0
        self._left = 0.0

    @contextmanager
    def still(self) -> Iterator[None]:
        """Let the time stand still; of several waits at once, until the last ends."""
        loop, when = asyncio.get_running_loop(), self._timer.when()
        if when is not None:
            self._left = when - loop.time()
            self._timer.reschedule(None)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._timer.reschedule(loop.time() + self._left)


_limit: ContextVar[TimeLimit | None] = ContextVar("limit", default=None)


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError where the block takes longer, waits for a RateLimiter not counted.

    What it starts must end with it: a wait that outlives it has no time to give back.
    """
    async with asyncio.timeout(seconds) as timer:
        before = _limit.set(TimeLimit(timer))
        try:
            yield
        finally:
            _limit.reset(before)


class RateLimiter:
    """Lets requests through in the order in which they come, no faster than the configured rates."""

    def __init__(
        self,
        config: RateLimit | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._turn = asyncio.Lock()
        self._paused_until = 0.0
        rates = (config.requests_per_minute, config.tokens_per_minute) if config else (None, None)
        self._requests, self._tokens = (Allowance(rate, clock()) if rate else None for rate in rates)

    async def admit(self, tokens: int) -> None:
        """Wait for this request's turn, which `within` does not count.

        `tokens`: how many it will need, prompt and reply, as far as is known.
        """
        limit = _limit.get()
        with limit.still() if limit else nullcontext():
            await self._admit(tokens)

    async def _admit(self, tokens: int) -> None:
        async with self._turn:
            while (wait := self._wait_s()) > 0:
                await self._sleep(wait)
            if self._requests:
                self._requests.take(1)
            if self._tokens:
                self._tokens.take(tokens)

    def settle(self, estimated: int, used: int) -> None:
        """Correct the estimate of an admitted request by what it used."""
        if self._tokens:
            self._tokens.take(used - estimated)

    def pause(self, seconds: float) -> None:
        """Let nobody through for `seconds`: the endpoint has said so."""
        self._paused_until = max(self._paused_until, self._clock() + seconds)

    def _wait_s(self) -> float:
        now = self._clock()
        waits = [allowance.wait_s(now) for allowance in (self._requests, self._tokens) if allowance]
        return max([self._paused_until - now, *waits])


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait, from `retry-after-ms` or `retry-after` (seconds or a date); None: nothing.

    Reference: RFC 9110, Section 10.2.3.
    """
    try:
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    except (KeyError, ValueError):
        pass
    said = headers.get("retry-after", "").strip()
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        when = parsedate_to_datetime(said)
    except (TypeError, ValueError):
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def backoff_s(attempt: int, draw: Callable[[], float] = random.random) -> float:
    """Seconds before try `attempt` + 1, from 0: doubling up to a minute, each between half and all of it by chance."""
    return min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**attempt) * (0.5 + draw() / 2)
