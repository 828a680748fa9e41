"""The native call over gRPC, by the gateway's own service over a backend in this process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from grpc import StatusCode
from pydantic import BaseModel

from memo_ray.errors import GenerationError, MemoError
from memo_ray.serving import shapes
from memo_ray.serving.backend import Busy
from memo_ray.serving.failures import new_door
from memo_ray.serving.gateway import Entrance, GatewaySettings
from memo_ray.serving.keys import Key, digest_of
from memo_ray.serving.replies import Defaults
from memo_ray.serving.rpc import answers_pb2
from memo_ray.serving.rpc.answers_pb2 import Question, Reply
from memo_ray.serving.rpc.service import AnswersService
from tests.unit.serving.test_gateway import Echo

pytestmark = pytest.mark.anyio

KEYS = (
    Key(name="all", sha256=digest_of("k-all")),
    Key(name="few", sha256=digest_of("k-few"), models=("memo/law",), requests_per_minute=1),
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Context:
    """A call's context, as Serve gives it."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.status: StatusCode | None = None
        self.details = ""

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.key}")] if self.key else []

    def set_code(self, code: StatusCode) -> None:
        self.status = code

    def set_details(self, details: str) -> None:
        self.details = details


class Caller:
    """A client with a key, over the service in this process."""

    def __init__(self, echo: Echo, timeout_s: float = 20) -> None:
        defaults = Defaults({"memory": 9}, {"memory": 0.0})
        settings = GatewaySettings(KEYS, ("memo", "memory"), defaults, 2**10, timeout_s)
        self.door = new_door()
        self.service = AnswersService(Entrance(echo, settings), self.door)

    async def ask(self, question: str = "Who?", key: str = "k-all", model: str = "") -> Reply:
        return await self.service.answer(Question(question=question, model=model), Context(key))

    async def refused(self, question: str = "Who?", key: str = "k-all", model: str = "") -> tuple[Any, str]:
        """The status and message, which are the same for the whole answer and the streamed one."""
        asked = Question(question=question, model=model)
        context, streamed = Context(key), Context(key)
        with pytest.raises(MemoError):
            await self.service.answer(asked, context)
        with pytest.raises(MemoError):
            [event async for event in self.service.stream(asked, streamed)]
        if "times a minute" not in context.details + streamed.details:
            assert (context.status, context.details) == (streamed.status, streamed.details)
        return context.status, context.details


async def test_an_answer_comes_whole_and_with_its_stages() -> None:
    echo = Echo()
    caller = Caller(echo)
    reply = await caller.ask()
    assert (reply.answer, reply.question, reply.usage.executive.input_tokens) == ("Ada.", "Who?", 2)
    events = [event async for event in caller.service.stream(Question(question="Who?"), Context("k-all"))]
    assert [event.WhichOneof("kind") for event in events] == ["stage", "answer"]
    assert MessageToDict(events[0].stage) == {"kind": "stage", "stage": "grounding"}
    assert events[1].answer == reply
    assert echo.asked == [("",), ("",)]


async def test_failures_have_the_status_that_stands_for_http_s() -> None:
    echo = Echo()
    echo.served = ("law", "law@2")
    caller = Caller(echo, timeout_s=0.2)
    assert await caller.refused(key="") == (
        StatusCode.UNAUTHENTICATED, "no API key; send `Authorization: Bearer KEY`",
    )  # fmt: skip
    assert (await caller.refused(key="wrong"))[0] == StatusCode.UNAUTHENTICATED
    assert await caller.refused("\x84") == (StatusCode.INVALID_ARGUMENT, "question: is empty")
    assert (await caller.refused("x" * 2000))[1] == "the body is larger than 1 KiB"
    assert (await caller.refused(model="memory"))[0] == StatusCode.INVALID_ARGUMENT
    assert (await caller.refused(model="memo/wiki"))[0] == StatusCode.NOT_FOUND
    for failure, status in (
        (GenerationError("the memory is down"), StatusCode.UNAVAILABLE),
        (Busy("full"), StatusCode.RESOURCE_EXHAUSTED),
        (KeyError("a bug"), StatusCode.INTERNAL),
    ):
        echo.failure = failure
        told = await caller.refused()
        assert told[0] == status and "a bug" not in told[1]
    echo.failure, echo.pause_s = None, 5
    assert (await caller.refused())[0] == StatusCode.DEADLINE_EXCEEDED


async def test_scope_rate_and_door_hold() -> None:
    echo = Echo()
    echo.served = ("law", "law@2", "wiki")
    caller = Caller(echo)
    assert (await caller.ask(key="k-few", model="memo/law")).answer == "Ada."
    assert (await caller.refused(key="k-few", model="memo/law"))[0] == StatusCode.RESOURCE_EXHAUSTED
    await caller.door.close(1)
    assert (await caller.refused())[0] == StatusCode.UNAVAILABLE


async def test_who_leaves_ends_the_work_and_is_not_inside_any_more() -> None:
    echo = Echo()
    echo.pause_s = 30
    caller = Caller(echo)
    waiting = asyncio.ensure_future(caller.ask())
    await asyncio.sleep(0.05)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(1):
        await caller.door.close(30)


@pytest.mark.parametrize(
    ("message", "shape"),
    [
        (answers_pb2.Reply, shapes.Answer),
        (answers_pb2.Citation, shapes.Citation),
        (answers_pb2.Support, shapes.Support),
        (answers_pb2.Match, shapes.Match),
        (answers_pb2.Place, shapes.Place),
        (answers_pb2.Verdict, shapes.Verdict),
        (answers_pb2.Stage, shapes.Stage),
        (answers_pb2.Usage, shapes.Usage),
        (answers_pb2.Tokens, shapes.Tokens),
    ],
)
def test_messages_have_the_fields_of_the_json(message: type[Message], shape: type[BaseModel]) -> None:
    assert [field.name for field in message.DESCRIPTOR.fields] == list(shape.model_fields)
