"""What the gateway sends back: whole completions and event streams, over any Backend, each audited by its Entry."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from memo_ray.errors import MemoError
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.serving.audit import Entry, audited_lines
from memo_ray.serving.backend import Backend, Busy
from memo_ray.serving.failures import api_error
from memo_ray.serving.openai_api import DONE, ApiError, Chunks, completion, sse, usage
from memo_ray.serving.openai_requests import ChatAsked
from memo_ray.serving.streams import HEARTBEAT, limited

HEARTBEAT_S = 15.0
"""A silent stream sends a comment this often, so that no proxy in between gives it up."""

BESIDE = ("id", "justification", "citations", "support", "memories", "degraded", "stop_reason", "stages", "seconds")
"""Fields of POST /v1/answers that a chat completion of the model `memo` shows too."""

Memories = tuple[str, ...]
"""The memories that a question is put to, as the Backend knows them."""

SSE_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@dataclass(frozen=True)
class Defaults:
    """What holds where a client chooses nothing, for `memory` and `executive`."""

    max_tokens: dict[str, int]
    """Longest reply."""
    temperatures: dict[str, float]


def chat_request(asked: ChatAsked, defaults: Defaults) -> ChatRequest:
    """The conversation as it stands, with the server's defaults where the client chose nothing."""
    return ChatRequest(
        request_id=new_id("chat"),
        messages=asked.messages,
        temperature=defaults.temperatures[asked.kind] if asked.temperature is None else asked.temperature,
        max_tokens=asked.max_tokens or defaults.max_tokens[asked.kind],
        top_p=1.0 if asked.top_p is None else asked.top_p,
        schema=asked.schema,
        seed=asked.seed,
        stop=asked.stop,
    )


def new_id(prefix: str) -> str:
    """A random id that begins with `prefix`."""
    return f"{prefix}-{uuid.uuid4().hex}"


# Whole replies


async def model_completion(backend: Backend, asked: ChatAsked, defaults: Defaults, entry: Entry) -> dict[str, Any]:
    """The memory or the executive alone."""
    reply = await backend.chat(asked.model, chat_request(asked, defaults))
    entry.usage = reply_usage(reply)
    return completion(entry.request_id, asked.model, reply.text, reply.finish_reason, entry.usage)


async def memo_completion(backend: Backend, asked: ChatAsked, memories: Memories, entry: Entry) -> dict[str, Any]:
    """The whole protocol. `memo` beside the choices: what a chat completion has no place for."""
    answer = await backend.answer(new_id("answer"), asked.question(), memories)
    entry.note(answer, total_usage(answer))
    text = before_stop(answer["answer"], asked.stop)
    return completion(entry.request_id, asked.model, text, "stop", entry.usage, memo=beside(answer))


def before_stop(text: str, stop: tuple[str, ...]) -> str:
    """`text` up to the first of the texts in `stop`."""
    return text[: min((place for found in stop if (place := text.find(found)) >= 0), default=len(text))]


def beside(answer: dict[str, Any]) -> dict[str, Any]:
    """What an answer of the protocol has that a chat completion has no place for; its transcript is in /v1/answers."""
    return {key: answer[key] for key in BESIDE}


def reply_usage(reply: ChatReply) -> dict[str, Any]:
    """The tokens of one model's reply."""
    return usage(reply.input_tokens, reply.output_tokens, reply.cached_tokens)


def total_usage(answer: dict[str, Any]) -> dict[str, Any]:
    """The tokens of both models together."""
    used = answer["usage"]
    return usage(
        used["executive"]["input_tokens"] + used["memory"]["input_tokens"],
        used["executive"]["output_tokens"] + used["memory"]["output_tokens"],
    )


# Streams of server-sent events


async def model_chunks(backend: Backend, asked: ChatAsked, defaults: Defaults, entry: Entry) -> AsyncIterator[str]:
    """The memory's or the executive's reply as it grows."""
    chunks = Chunks(entry.request_id, asked.model, int(time.time()))
    begun = False
    async for piece in backend.stream(asked.model, chat_request(asked, defaults)):
        if not begun:
            yield chunks.start()
        begun = True
        if isinstance(piece, str):
            yield chunks.text(piece)
            continue
        entry.usage = reply_usage(piece)
        yield chunks.finish(piece.finish_reason)
        if asked.include_usage:
            yield chunks.usage(entry.usage)
    yield DONE


async def memo_chunks(backend: Backend, asked: ChatAsked, memories: Memories, entry: Entry) -> AsyncIterator[str]:
    """The stages as empty chunks with a field that clients of OpenAI ignore; then the answer as one piece of text."""
    chunks = Chunks(entry.request_id, asked.model, int(time.time()))
    begun = False
    async for item in backend.events(new_id("answer"), asked.question(), memories):
        if not begun:
            yield chunks.start()
        begun = True
        if "event" in item:
            yield chunks.beside(memo_event=item["event"])
            continue
        answer = item["answer"]
        entry.note(answer, total_usage(answer))
        yield chunks.text(before_stop(answer["answer"], asked.stop))
        yield chunks.finish("stop", memo=beside(answer))
        if asked.include_usage:
            yield chunks.usage(entry.usage)
    yield DONE


async def answer_events(backend: Backend, question: str, memories: Memories, entry: Entry) -> AsyncIterator[str]:
    """`event: stage` for each stage event, then one `event: answer` with the whole answer."""
    async for item in backend.events(entry.request_id, question, memories):
        if "answer" in item:
            entry.note(item["answer"], total_usage(item["answer"]))
        yield sse(item["event"], "stage") if "event" in item else sse(item["answer"], "answer")


async def streaming(lines: AsyncIterator[str], timeout_s: float, entry: Entry, error_event: str = "") -> Response:
    """`lines` as an event stream. What fails before the first line gets its own status; later, an error event."""
    paced = audited_lines(limited(lines, timeout_s, HEARTBEAT_S), entry)
    first = await anext(paced)
    return EventStream(rest_of(first, paced, error_event), media_type="text/event-stream", headers=SSE_HEADERS)


class EventStream(StreamingResponse):
    """A response that does not listen for the client's leaving: Ray Serve cancels the whole call then."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.stream_response(send)


async def rest_of(first: str | None, paced: AsyncIterator[str | None], error_event: str) -> AsyncIterator[str]:
    """The first line and those that follow; what fails on the way is the last event."""
    yield HEARTBEAT if first is None else first
    try:
        async for line in paced:
            yield HEARTBEAT if line is None else line
    except (ApiError, Busy, TimeoutError, MemoError) as error:
        yield sse(api_error(error).body(), error_event)
