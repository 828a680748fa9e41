"""A ChatModel on any endpoint that speaks OpenAI's chat completions.

Retries with backoff are the openai client's own; the key comes from an environment variable and is stored
nowhere. Where the endpoint has no structured outputs the schema is left to the caller's strict parser.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import openai
from openai.types import CompletionUsage

from memo_ray.config.models import OpenAIModel
from memo_ray.errors import ConfigError, GenerationError, PromptRefused
from memo_ray.models.chat import ChatReply, ChatRequest


class OpenAIChatModel:
    """A client of one endpoint and model; at most `concurrency` requests are in flight."""

    def __init__(self, config: OpenAIModel) -> None:
        """Raises ConfigError when the key's environment variable is named but not set."""
        key = os.environ.get(config.api_key_env, "") if config.api_key_env else "none"
        if not key:
            raise ConfigError(f"api_key_env: the environment variable {config.api_key_env} is not set; export the key")
        self.name = config.model
        self._config = config
        self._places = asyncio.Semaphore(config.concurrency)
        self._client = openai.AsyncOpenAI(
            api_key=key, base_url=config.base_url, timeout=config.timeout_s, max_retries=config.max_retries
        )

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The whole reply. Raises GenerationError naming the endpoint and what to check."""
        async with self._places:
            try:
                completion = await self._client.chat.completions.create(**self._arguments(request))
            except openai.OpenAIError as error:
                raise self._failure(error) from error
        if not completion.choices:
            raise GenerationError(f"{self._config.base_url}: the endpoint returned no choice")
        choice = completion.choices[0]
        return reply_of(choice.message.content or "", choice.finish_reason, completion.usage)

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The reply's text piece by piece, then the whole reply. Raises GenerationError as `chat` does."""
        text, finish_reason, usage = "", "", None
        async with self._places:
            try:
                pieces = await self._client.chat.completions.create(
                    **self._arguments(request), stream=True, stream_options={"include_usage": True}
                )
                async for piece in pieces:
                    usage = piece.usage or usage
                    if not piece.choices:
                        continue
                    finish_reason = piece.choices[0].finish_reason or finish_reason
                    if piece.choices[0].delta.content:
                        text += piece.choices[0].delta.content
                        yield piece.choices[0].delta.content
            except openai.OpenAIError as error:
                raise self._failure(error) from error
        yield reply_of(text, finish_reason, usage)

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()

    def _arguments(self, request: ChatRequest) -> dict[str, Any]:
        arguments: dict[str, Any] = {
            "model": self._config.model,
            "messages": list(request.messages),
            "temperature": request.temperature,
            "top_p": request.top_p,
            "max_tokens": request.max_tokens,
        }
        if request.seed is not None:
            arguments["seed"] = request.seed
        if request.schema is not None and self._config.structured_outputs:
            schema = {"name": "reply", "schema": request.schema, "strict": True}
            arguments["response_format"] = {"type": "json_schema", "json_schema": schema}
        return arguments

    def _failure(self, error: openai.OpenAIError) -> GenerationError:
        """One clear line for what the client gave up on."""
        where, model = self._config.base_url, self._config.model
        if isinstance(error, openai.BadRequestError):
            return PromptRefused(f"endpoint {where}: refuses the request ({' '.join(error.message.split())[:200]})")
        if isinstance(error, openai.APITimeoutError):
            remedy = f"no answer within {self._config.timeout_s:g} s; raise timeout_s or lower concurrency"
        elif isinstance(error, openai.APIConnectionError):
            remedy = "cannot be reached; check base_url and that the server runs"
        elif isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
            variable = self._config.api_key_env or "(api_key_env is not set)"
            remedy = f"refuses the key; check the environment variable {variable}"
        elif isinstance(error, openai.NotFoundError):
            remedy = f"does not know the model {model}, or base_url lacks its /v1"
        elif isinstance(error, openai.RateLimitError):
            remedy = "limits the rate even after retries; lower concurrency or raise max_retries"
        elif isinstance(error, openai.APIStatusError):
            remedy = f"answered status {error.status_code} ({' '.join(error.message.split())[:200]})"
        else:
            remedy = f"failed ({type(error).__name__})"
        return GenerationError(f"endpoint {where}: {remedy}")


def reply_of(text: str, finish_reason: str | None, usage: CompletionUsage | None) -> ChatReply:
    """A reply with the tokens that the endpoint counted; none where it counts none."""
    details = usage.prompt_tokens_details if usage else None
    return ChatReply(
        text=text.strip(),
        finish_reason=finish_reason or "",
        input_tokens=usage.prompt_tokens if usage else 0,
        output_tokens=usage.completion_tokens if usage else 0,
        cached_tokens=(details.cached_tokens or 0) if details else 0,
    )
