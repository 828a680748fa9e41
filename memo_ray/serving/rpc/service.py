"""The native call over gRPC, by the same rules as POST /v1/answers: key, scope, rate, sizes, time, audit.

Serve's gRPC proxy calls the gateway's deployment, whose methods have the names of answers.proto. A failure is the
status of gRPC that stands for HTTP's, with the same message.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Any, Protocol

from google.protobuf.json_format import ParseDict
from grpc import StatusCode

from memo_ray.errors import MemoError
from memo_ray.serving.audit import Entry, audited, audited_lines
from memo_ray.serving.draining import Door
from memo_ray.serving.failures import api_error, stopping
from memo_ray.serving.gateway import Entrance
from memo_ray.serving.openai_api import invalid
from memo_ray.serving.openai_requests import AnswerAsked, answer_asked
from memo_ray.serving.replies import new_id, total_usage
from memo_ray.serving.rpc.answers_pb2 import Event, Question, Reply
from memo_ray.serving.streams import limited

ADD_SERVICE = "memo_ray.serving.rpc.answers_pb2_grpc.add_AnswersServicer_to_server"
"""What Serve's gRPC proxy is told of the service."""

STATUS = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    413: StatusCode.INVALID_ARGUMENT,
    429: StatusCode.RESOURCE_EXHAUSTED,
    502: StatusCode.UNAVAILABLE,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
}

logger = logging.getLogger(__name__)


class Context(Protocol):
    """What of Serve's RayServegRPCContext is needed here."""

    def invocation_metadata(self) -> Sequence[tuple[str, str]]: ...

    def set_code(self, code: StatusCode) -> None: ...

    def set_details(self, details: str) -> None: ...


class AnswersService:
    """The service of answers.proto behind the gateway's entrance and door."""

    def __init__(self, entrance: Entrance, door: Door) -> None:
        self._entrance = entrance
        self._door = door

    async def answer(self, question: Question, context: Context) -> Reply:
        """The whole answer. Raises MemoError, and says the status in `context`."""
        with told(context), self._passage():
            asked, memories, entry = await self._admitted(question, context, stream=False)
            with audited(entry):
                async with asyncio.timeout(self._entrance.settings.timeout_s):
                    body = await self._entrance.backend.answer(entry.request_id, asked.question, memories)
                    entry.note(body, total_usage(body))
            return reply_of(body)

    async def stream(self, question: Question, context: Context) -> AsyncGenerator[Event, None]:
        """The stages as they happen, then the answer. Raises as `answer` does."""
        with told(context), self._passage():
            asked, memories, entry = await self._admitted(question, context, stream=True)
            items = self._entrance.backend.events(entry.request_id, asked.question, memories)
            timeout_s = self._entrance.settings.timeout_s
            async with aclosing(audited_lines(limited(items, timeout_s, timeout_s), entry)) as lines:
                async for item in lines:
                    if item is not None and "event" in item:
                        yield ParseDict({"stage": item["event"]}, Event())
                    elif item is not None:
                        entry.note(item["answer"], total_usage(item["answer"]))
                        yield Event(answer=reply_of(item["answer"]))

    async def _admitted(
        self, question: Question, context: Context, *, stream: bool
    ) -> tuple[AnswerAsked, tuple[str, ...], Entry]:
        """What is asked, of which memories, and the audit's entry. Raises ApiError."""
        metadata = dict(context.invocation_metadata())
        caller = await self._entrance.admit(metadata.get("authorization", ""))
        if question.ByteSize() > self._entrance.settings.max_request_bytes:
            limit = self._entrance.settings.max_request_bytes // 1024
            raise invalid(f"the body is larger than {limit} KiB", status=413)
        fields = {"question": question.question, "model": question.model or None, "stream": stream}
        asked = answer_asked(fields, caller.models)
        memories = caller.meant_by(asked.model, self._entrance.settings.routed)
        return asked, memories, Entry(new_id("answer"), caller.key.name, asked.model, stream)

    @contextmanager
    def _passage(self) -> Iterator[None]:
        if self._door.closing:
            raise stopping()
        with self._door.passage():
            yield


@contextmanager
def told(context: Context) -> Iterator[None]:
    """Turn what fails inside into the call's status, and into an exception that can travel to Serve's proxy."""
    try:
        yield
    except Exception as error:
        refused = api_error(error)
        if refused.status == 500:
            logger.exception("an answer over gRPC failed")
        context.set_code(STATUS.get(refused.status, StatusCode.INTERNAL))
        context.set_details(refused.message)
        raise MemoError(refused.message) from None


def reply_of(body: dict[str, Any]) -> Reply:
    """The body of POST /v1/answers as a message of the same fields."""
    return ParseDict(body, Reply())
