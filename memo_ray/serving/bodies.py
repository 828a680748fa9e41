"""The bodies of the gateway's requests, as models: what they are checked with, and what the OpenAPI schema shows.

Where a request is read more kindly than its model says, nulls and fields without effect, the schema says so too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

IGNORED = frozenset(
    {
        "user", "metadata", "store", "service_tier", "parallel_tool_calls", "prompt_cache_key",
        "prompt_cache_retention", "safety_identifier",
    }
)  # fmt: skip
"""Request fields that change nothing here."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
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
"""Request fields that are not supported, with the values at which they change nothing. null is always neutral, for
every optional field and at the top of a body and of a message alike."""

IGNORED_IN_MESSAGES = frozenset({"name", "refusal", "annotations"})
UNUSED_IN_MESSAGES = ("tool_calls", "function_call", "audio")
"""Not supported, unless null or empty: clients send back whole replies."""


def whole(value: Any) -> Any:
    """3 for 3.0: in JSON both are the same integer, and some clients write the latter."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def nulls(schema: dict[str, Any]) -> None:
    """Say in a JSON schema that a field which may be left out may be null as well, whatever its name."""
    for name, field in schema["properties"].items():
        if name not in schema.get("required", ()) and field.get("default", "") is not None:
            schema["properties"][name] = {"anyOf": [field, {"type": "null"}]}
    schema["additionalProperties"] = {"type": "null"}


def nulls_in_chat(schema: dict[str, Any]) -> None:
    """The same for a chat completion, with the fields that are read and then ignored."""
    nulls(schema)
    schema["properties"] |= {name: {} for name in sorted(IGNORED)}
    schema["properties"] |= {name: {"enum": [*values, None]} for name, values in NEUTRAL.items()}


def nulls_in_turn(schema: dict[str, Any]) -> None:
    """The same for a message."""
    nulls(schema)
    schema["properties"] |= {name: {} for name in sorted(IGNORED_IN_MESSAGES)}
    schema["properties"] |= {name: {"enum": [[], None]} for name in UNUSED_IN_MESSAGES}


class Body(BaseModel):
    """Strict types, unknown fields refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


Count = Annotated[int, Field(ge=1, lt=2**31), BeforeValidator(whole)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63), BeforeValidator(whole)]
StopText = Annotated[str, Field(min_length=1)]


class StreamOptions(Body):
    """`stream_options` of a chat completion."""

    include_usage: bool = False
    include_obfuscation: bool = False


class JsonSchema(Body):
    """`json_schema` of a response format."""

    name: str = ""
    description: str = ""
    strict: bool = True
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(Body):
    """`response_format` of a chat completion."""

    type: Literal["text", "json_schema"]
    json_schema: JsonSchema | None = None


class TextPart(Body):
    """A text part of a message's content."""

    type: Literal["text"]
    text: str


class Turn(Body):
    """One message."""

    model_config = ConfigDict(json_schema_extra=nulls_in_turn)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]


class ChatBody(Body):
    """The body of POST /v1/chat/completions."""

    model_config = ConfigDict(json_schema_extra=nulls_in_chat)

    model: str
    messages: list[Turn] = Field(min_length=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    seed: Seed | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=4)] = Field(default_factory=list)
    response_format: ResponseFormat | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None


class AnswerBody(Body):
    """The body of POST /v1/answers."""

    model_config = ConfigDict(json_schema_extra=nulls)

    model: str = "memo"
    question: str = Field(min_length=1)
    stream: bool = False


class SwapBody(Body):
    """The body of POST /admin/memories."""

    memory: str = Field(min_length=1, max_length=100)
