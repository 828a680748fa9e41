"""What clients may ask of the gateway: OpenAI's chat completions, read strictly, and questions for /v1/answers.

A field that would change the reply and is not supported is refused by name; one that changes nothing is
ignored (docs/serving.md has the lists).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from fastapi import Request
from pydantic import BaseModel, ValidationError

from memo_ray.models.chat import Message
from memo_ray.protocol.quoting import printable
from memo_ray.serving.bodies import (
    IGNORED,
    IGNORED_IN_MESSAGES,
    NEUTRAL,
    UNUSED_IN_MESSAGES,
    AnswerBody,
    ChatBody,
    SwapBody,
    Turn,
)
from memo_ray.serving.openai_api import invalid, unknown_model

Kind = TypeVar("Kind", bound=BaseModel)

DEEPEST = 64
"""Levels of nesting of a body. A JSON schema of a response format needs a dozen; a parser's stack has its limit."""

BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*"?|[\[\]{}]', re.DOTALL)

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True, slots=True)
class ChatAsked:
    """A chat completion that was asked for. None: the client left the choice to the server."""

    model: str
    messages: tuple[Message, ...]
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    seed: int | None
    stop: tuple[str, ...]
    schema: dict[str, Any] | None
    stream: bool
    include_usage: bool

    @property
    def kind(self) -> str:
        """`memo`, `memory` or `executive`; what follows the slash says which memory."""
        return self.model.partition("/")[0]

    def question(self) -> str:
        """The last user message: what `memo` answers. Raises ApiError when there is none."""
        for message in reversed(self.messages):
            if message["role"] == "user" and (asked := printable(message["content"]).strip()):
                return asked
        raise invalid("messages: needs a user message with text, the question", "messages")


@dataclass(frozen=True, slots=True)
class AnswerAsked:
    """A question put to POST /v1/answers."""

    model: str
    question: str
    stream: bool


def parse_chat(raw: bytes, known: Sequence[str]) -> ChatAsked:
    """The request body of POST /v1/chat/completions. `known`: the models served here.

    Raises ApiError: 404 for another model, 400 for what is malformed or not supported, naming the field.
    """
    data = {key: value for key, value in _object(raw).items() if value is not None and key not in IGNORED}
    for key, neutral in NEUTRAL.items():
        if key in data and not is_one_of(data.pop(key), neutral):
            raise invalid(f"{key}: is not supported here; leave it out", key)
    if isinstance(data.get("messages"), list):
        data["messages"] = [_plain_turn(turn, n) for n, turn in enumerate(data["messages"])]
    body = validated(ChatBody, data)
    if body.model not in known:
        raise unknown_model(body.model, known)
    format_ = body.response_format
    if format_ and format_.type == "json_schema" and format_.json_schema is None:
        raise invalid("response_format.json_schema: is required with type json_schema", "response_format")
    return ChatAsked(
        model=body.model,
        messages=tuple(_message(turn) for turn in body.messages),
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=body.max_completion_tokens or body.max_tokens,
        seed=body.seed,
        stop=(body.stop,) if isinstance(body.stop, str) else tuple(body.stop),
        schema=format_.json_schema.schema_ if format_ and format_.json_schema else None,
        stream=body.stream,
        include_usage=body.stream_options is not None and body.stream_options.include_usage,
    )


def parse_answer(raw: bytes, known: Sequence[str]) -> AnswerAsked:
    """The request body of POST /v1/answers. `known`: the models served here.

    Raises ApiError: 404 for a model that is not among them, 400 for what is malformed.
    """
    return answer_asked(_object(raw), known)


def answer_asked(fields: dict[str, Any], known: Sequence[str]) -> AnswerAsked:
    """The same from the body's fields."""
    body = validated(AnswerBody, {key: value for key, value in fields.items() if value is not None})
    if body.model not in known:
        raise unknown_model(body.model, known)
    if body.model.partition("/")[0] != "memo":
        raise invalid("model: must be memo or memo/NAME here; /v1/chat/completions has the others", "model")
    question = printable(body.question).strip()
    if not question:
        raise invalid("question: is empty", "question")
    return AnswerAsked(body.model, question, body.stream)


def parse_swap(raw: bytes) -> str:
    """The memory, NAME or NAME@VERSION, of a request body of POST /admin/memories. Raises ApiError 400."""
    return validated(SwapBody, _object(raw)).memory


async def read_body(request: Request, limit: int) -> bytes:
    """The body, read no further than `limit` bytes. Raises ApiError 413 for a longer one."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise invalid(f"the body is larger than {limit // 1024} KiB", status=413)
        parts.append(part)
    return b"".join(parts)


def depth_of(raw: bytes) -> int:
    """How deep the brackets of a JSON text are nested, read without recursion; brackets in strings do not count."""
    depth = deepest = 0
    for token in BRACKETS.findall(raw):
        if token in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif token in b"]}":
            depth -= 1
    return deepest


def validated(kind: type[Kind], data: dict[str, Any]) -> Kind:
    """The fields of a body or a query, checked. Raises ApiError 400 naming the first that is wrong."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"]
        if first["type"] == "extra_forbidden":
            message = "unknown field; leave it out"
        elif ".content" in where:
            where = where.partition(".content")[0] + ".content"
            message = "must be text, or a list of parts of type text"
        raise invalid(f"{where}: {message}", where.split(".")[0]) from None


def is_one_of(value: Any, values: Sequence[Any]) -> bool:
    """Whether a JSON value is among `values`. true is no number here, as it is in Python."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values)


def _object(raw: bytes) -> dict[str, Any]:
    if depth_of(raw) > DEEPEST:
        raise invalid(f"the body is nested more than {DEEPEST} levels deep")
    try:
        data = json.loads(raw)
        # An escaped half of a surrogate pair is valid JSON, yet no text that a tokenizer or a socket takes.
        json.dumps(data, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:  # UnicodeError, JSONDecodeError, a number of thousands of digits
        raise invalid(f"the body is not valid JSON in UTF-8 ({str(error)[:100]})") from None
    if not isinstance(data, dict):
        raise invalid("the body must be a JSON object")
    return data


def _plain_turn(turn: Any, index: int) -> Any:
    """A message without nulls and without the fields that change nothing. Clients send back whole replies."""
    if not isinstance(turn, dict):
        return turn
    kept = {k: v for k, v in turn.items() if v is not None and k not in IGNORED_IN_MESSAGES}
    for key in UNUSED_IN_MESSAGES:
        if kept.pop(key, []) != []:
            raise invalid(f"messages.{index}.{key}: is not supported here; only text is", "messages")
    return kept


def _message(turn: Turn) -> Message:
    content = turn.content if isinstance(turn.content, str) else "".join(part.text for part in turn.content)
    return cast(Message, {"role": ROLES[turn.role], "content": content})
