"""OpenAI's chat completions as the gateway speaks them: strict requests in, replies, chunks and errors out.

Pure data, no server. A field that would change the reply and is not supported is refused by name; one that
changes nothing is ignored; `memo` reads the last user message alone (docs/serving.md has the table).
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memo_ray.models.chat import Message

Kind = TypeVar("Kind", bound=BaseModel)

IGNORED = frozenset(
    {
        "user", "metadata", "store", "service_tier", "parallel_tool_calls", "prompt_cache_key",
        "prompt_cache_retention", "safety_identifier",
    }
)  # fmt: skip
"""Request fields that change nothing here."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "stop": ([],),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
}
"""Request fields that are not supported, with the values at which they change nothing. null is always neutral."""

IGNORED_IN_MESSAGES = frozenset({"name", "refusal", "annotations"})
ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
FINISH_REASONS = frozenset({"stop", "length"})


class ApiError(Exception):
    """An answer to a client that is not a reply: an HTTP status with OpenAI's error object."""

    def __init__(self, status: int, message: str, kind: str, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param

    def body(self) -> dict[str, Any]:
        """The JSON body, as OpenAI's clients parse it."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def invalid(message: str, param: str | None = None, status: int = 400) -> ApiError:
    """A request that cannot be understood or honoured."""
    return ApiError(status, message, "invalid_request_error", param=param)


def unknown_model(model: str, known: Sequence[str]) -> ApiError:
    """A model that is not served here; the message lists those that are."""
    return ApiError(
        404, f"there is no model {model[:100]!r} here; known models: {', '.join(known)}", "invalid_request_error",
        "model_not_found", "model",
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChatAsked:
    """A chat completion that was asked for. None: the client left the choice to the server."""

    model: str
    messages: tuple[Message, ...]
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    seed: int | None
    schema: dict[str, Any] | None
    stream: bool
    include_usage: bool

    def question(self) -> str:
        """The last user message: what `memo` answers. Raises ApiError when there is none."""
        for message in reversed(self.messages):
            if message["role"] == "user" and message["content"].strip():
                return message["content"].strip()
        raise invalid("messages: needs a user message with text, the question", "messages")


@dataclass(frozen=True, slots=True)
class AnswerAsked:
    """A question put to POST /v1/answers."""

    question: str
    stream: bool


class Body(BaseModel):
    """Strict types, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool = False


class JsonSchema(Body):
    name: str = ""
    description: str = ""
    strict: bool = True
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Body):
    type: Literal["text", "json_schema"]
    json_schema: JsonSchema | None = None


class TextPart(Body):
    type: Literal["text"]
    text: str


class Turn(Body):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]


class ChatBody(Body):
    model: str
    messages: list[Turn] = Field(min_length=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    seed: int | None = None
    response_format: ResponseFormat | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None


class AnswerBody(Body):
    question: str = Field(min_length=1)
    stream: bool = False


def parse_chat(raw: bytes, known: Sequence[str]) -> ChatAsked:
    """The request body of POST /v1/chat/completions. `known`: the models served here.

    Raises ApiError: 404 for another model, 400 for what is malformed or not supported, naming the field.
    """
    data = {key: value for key, value in _object(raw).items() if value is not None and key not in IGNORED}
    for key, neutral in NEUTRAL.items():
        if key in data and data.pop(key) not in neutral:
            raise invalid(f"{key}: is not supported here; leave it out", key)
    if isinstance(data.get("messages"), list):
        data["messages"] = [_plain_turn(turn, n) for n, turn in enumerate(data["messages"])]
    body = _validated(ChatBody, data)
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
        schema=format_.json_schema.schema_ if format_ and format_.json_schema else None,
        stream=body.stream,
        include_usage=body.stream_options is not None and body.stream_options.include_usage,
    )


def parse_answer(raw: bytes) -> AnswerAsked:
    """The request body of POST /v1/answers. Raises ApiError 400."""
    body = _validated(AnswerBody, {key: value for key, value in _object(raw).items() if value is not None})
    if not body.question.strip():
        raise invalid("question: is empty", "question")
    return AnswerAsked(body.question.strip(), body.stream)


def usage(input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> dict[str, Any]:
    """OpenAI's usage object, in tokens."""
    return {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_tokens},
    }


def completion(
    completion_id: str, model: str, text: str, finish_reason: str, used: Mapping[str, Any], **extra: Any
) -> dict[str, Any]:
    """A whole chat completion with one choice. `extra`: further top-level fields, which clients ignore."""
    return {
        "id": completion_id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, "refusal": None},
                "logprobs": None,
                "finish_reason": finish_reason if finish_reason in FINISH_REASONS else "stop",
            }
        ],
        "usage": dict(used),
        **extra,
    }


@dataclass(frozen=True)
class Chunks:
    """The server-sent chunks of one streamed completion."""

    completion_id: str
    model: str
    created: int

    def start(self) -> str:
        """The first chunk: who speaks."""
        return self._chunk({"role": "assistant", "content": ""})

    def text(self, piece: str) -> str:
        """A piece of the reply."""
        return self._chunk({"content": piece})

    def finish(self, finish_reason: str) -> str:
        """The last chunk with a choice."""
        return self._chunk({}, finish_reason if finish_reason in FINISH_REASONS else "stop")

    def usage(self, used: Mapping[str, Any]) -> str:
        """The chunk without a choice that a client asks for with stream_options.include_usage."""
        return sse({**self._head(), "choices": [], "usage": dict(used)})

    def _chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return sse({**self._head(), "choices": [choice]})

    def _head(self) -> dict[str, Any]:
        return {
            "id": self.completion_id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
        }


DONE = "data: [DONE]\n\n"
"""The end of an OpenAI stream."""


def sse(data: Any, event: str = "") -> str:
    """One server-sent event. JSON holds no line break, so it is one `data` line."""
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(data, ensure_ascii=False)}\n\n"


def sse_comment(name: str, data: Any) -> str:
    """A server-sent comment, which every event-stream parser skips: `: NAME JSON`."""
    return f": {name} {json.dumps(data, ensure_ascii=False)}\n\n"


def _object(raw: bytes) -> dict[str, Any]:
    try:
        data = json.loads(raw)
        # An escaped half of a surrogate pair is valid JSON, yet no text that a tokenizer or a socket takes.
        json.dumps(data, ensure_ascii=False).encode()
    except (UnicodeError, json.JSONDecodeError, RecursionError) as error:
        raise invalid(f"the body is not valid JSON in UTF-8 ({str(error)[:100]})") from None
    if not isinstance(data, dict):
        raise invalid("the body must be a JSON object")
    return data


def _plain_turn(turn: Any, index: int) -> Any:
    """A message without nulls and without the fields that change nothing. Clients send back whole replies."""
    if not isinstance(turn, dict):
        return turn
    kept = {k: v for k, v in turn.items() if v is not None and k not in IGNORED_IN_MESSAGES}
    for key in ("tool_calls", "function_call", "audio"):
        if kept.pop(key, None):
            raise invalid(f"messages.{index}.{key}: is not supported here; only text is", "messages")
    return kept


def _validated(kind: type[Kind], data: dict[str, Any]) -> Kind:
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


def _message(turn: Turn) -> Message:
    content = turn.content if isinstance(turn.content, str) else "".join(part.text for part in turn.content)
    return cast(Message, {"role": ROLES[turn.role], "content": content})
