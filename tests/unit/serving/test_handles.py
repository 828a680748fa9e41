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
from memo_ray.models.chat import ChatReply, ChatRequest, Message
from memo_ray.serving.calls import items_of, reply_of
from memo_ray.serving.handle_model import HandleChatModel

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


class Deployment:
    """A model's handle that answers `chats` once `end` is set; `asked`: the requests of every call."""

    def __init__(self, replies: list[dict[str, Any] | GenerationError], failure: BaseException | None = None) -> None:
        self.replies = replies
        self.failure = failure
        self.end = asyncio.Event()
        self.asked: list[list[str]] = []
        self.cancelled = 0

    def options(self, **_: Any) -> Deployment:
        return self

    def remote(self, requests: list[dict[str, Any]]) -> Deployment:
        self.asked.append([request["request_id"] for request in requests])
        return self

    def cancel(self) -> None:
        self.cancelled += 1

    async def __aiter__(self) -> AsyncIterator[tuple[int, Any]]:
        for place in reversed(range(len(self.replies))):
            yield place, self.replies[place]
        await self.end.wait()
        if self.failure:
            raise self.failure


def asking(deployment: Deployment, count: int) -> list[asyncio.Task[ChatReply]]:
    """So many requests at once, `r0` and on."""
    handle: Any = deployment
    model = HandleChatModel(handle, "memory", patience=3)
    message: Message = {"role": "user", "content": "Who?"}
    requests = [ChatRequest(f"r{n}", (message,), temperature=0, max_tokens=9) for n in range(count)]
    return [asyncio.create_task(model.chat(request)) for request in requests]


def saying(text: str) -> dict[str, Any]:
    return {"text": text, "finish_reason": "stop", "input_tokens": 1, "output_tokens": 1, "cached_tokens": 0}


async def test_what_is_asked_at_once_is_one_call_and_each_gets_its_own() -> None:
    deployment = Deployment([saying("a"), GenerationError("too long"), saying("c")])
    calls = asking(deployment, 3)
    first, second, third = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(first, ChatReply) and isinstance(third, ChatReply)
    assert (first.text, str(second), third.text) == ("a", "too long", "c")
    assert deployment.asked == [["r0", "r1", "r2"]]


async def test_a_call_that_fails_fails_those_that_have_no_reply_yet() -> None:
    deployment = Deployment([saying("a")], RpcError())
    deployment.end.set()
    first, second = await asyncio.gather(*asking(deployment, 2), return_exceptions=True)
    assert isinstance(first, ChatReply)
    assert isinstance(second, GenerationError) and str(second).startswith("memory: its replica ended")


async def test_a_shared_call_ends_when_the_last_of_those_who_wait_leaves() -> None:
    deployment = Deployment([])
    first, second = asking(deployment, 2)
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.sleep(0.01)
    assert not second.done() and deployment.cancelled == 0
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    await asyncio.sleep(0.01)
    assert deployment.cancelled == 1
