"""Calls between deployments that end without a reply: whose fault it was, and that the other side hears of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from grpc import RpcError, StatusCode
from grpc.aio import AioRpcError, Metadata
from ray.exceptions import ActorUnavailableError
from ray.serve.exceptions import BackPressureError, RequestCancelledError

from memo_ray.errors import GenerationError
from memo_ray.serving.handles import items_of, reply_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Call:
    """A call under way, as a handle returns it: waits for `end`, then raises `failure`."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.failure = failure
        self.end = asyncio.Event()
        self.cancelled = False

    async def _ended(self) -> str:
        await self.end.wait()
        if self.failure:
            raise self.failure
        return "said"

    def __await__(self) -> Any:
        return self._ended().__await__()

    async def __aiter__(self) -> AsyncIterator[str]:
        yield await self._ended()

    def cancel(self) -> None:
        self.cancelled = True


class Handle:
    """A deployment's handle that makes one call."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def options(self, **_: Any) -> Handle:
        return self

    def remote(self, *_: Any) -> Call:
        return self.call


async def whole(call: Call) -> str:
    return await reply_of(call, "memory")


async def streamed(call: Call) -> str:
    handle: Any = Handle(call)
    return "".join([piece async for piece in items_of(handle, "stream", "memory")])


ways = pytest.mark.parametrize("way", [whole, streamed])
Way = Callable[[Call], Awaitable[str]]


@ways
async def test_a_reply_comes_as_it_is(way: Way) -> None:
    call = Call()
    call.end.set()
    assert (await way(call), call.cancelled) == ("said", False)


@ways
@pytest.mark.parametrize(
    "failure", [asyncio.CancelledError(), RpcError(), ActorUnavailableError("gone", None), RequestCancelledError()]
)
async def test_what_ended_in_the_other_replica_is_a_failure_of_its_own(way: Way, failure: BaseException) -> None:
    call = Call(failure)
    call.end.set()
    with pytest.raises(GenerationError, match=r"^memory: its replica ended while it answered"):
        await way(call)


async def test_a_message_that_is_too_long_is_said_to_be() -> None:
    call = Call(AioRpcError(StatusCode.RESOURCE_EXHAUSTED, Metadata(), Metadata(), "larger than max"))
    call.end.set()
    with pytest.raises(GenerationError, match="is longer than calls between Serve's replicas may be"):
        await whole(call)


@ways
async def test_a_full_queue_is_told_as_it_is(way: Way) -> None:
    call = Call(BackPressureError(num_queued_requests=1, max_queued_requests=1))
    call.end.set()
    with pytest.raises(BackPressureError):
        await way(call)


@ways
async def test_who_leaves_cancels_the_call(way: Way) -> None:
    call = Call()
    waiting = asyncio.ensure_future(way(call))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert call.cancelled
