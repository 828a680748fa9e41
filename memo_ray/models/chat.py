"""ChatModel: the one way the platform speaks to a language model, whatever runs it.

Text in, text out. Synthesis, protocol, serving and evaluation know only this file; `vllm.py` and `openai.py`
implement it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypedDict


class Message(TypedDict):
    """One turn of a conversation, as OpenAI's chat completions name it."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What to say to a model. `schema`: a JSON schema that the reply must follow, without free white space.

    `adapter`: the folder of a LoRA adapter that is to answer; only an engine that was started for adapters takes one.
    `stop`: texts at which the reply ends, without them.
    """

    request_id: str
    messages: tuple[Message, ...]
    temperature: float
    max_tokens: int
    top_p: float = 1.0
    schema: dict[str, Any] | None = None
    seed: int | None = None
    adapter: str = ""
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What it said. `finish_reason` "length": the reply was cut at `max_tokens`."""

    text: str
    finish_reason: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


class ChatModel(Protocol):
    """An asynchronous chat model. Many `chat` calls run at once; cancelling one stops its generation."""

    name: str

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The model's reply. Raises PromptRefused for this prompt alone, GenerationError when it cannot answer."""
        ...

    def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The reply's text, piece by piece as it is generated; the last item is the whole reply."""
        ...

    async def close(self) -> None:
        """Free what the model holds; no call may follow."""
        ...
