"""A ChatModel on any endpoint that speaks OpenAI's chat completions.

Keeps to the configured rates, tries again after refusals and failures as long as the endpoint asks, and stops at the
spending limit with every paid reply kept. The key comes from an environment variable and is stored nowhere. Where the
endpoint has no structured outputs the schema is left to the caller's strict parser.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
from openai.types import CompletionUsage

from memo_ray.config.models import OpenAIModel
from memo_ray.errors import ConfigError, GenerationError, PromptRefused
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.models.journal import Journal, request_key
from memo_ray.models.limits import LONGEST_WAIT_S, RateLimiter, backoff_s, retry_after_s
from memo_ray.models.reasoning import ReasoningFilter, without_reasoning
from memo_ray.models.spending import Spending

PASSING = frozenset({408, 409, 429})
"""Statuses below 500 after which the same request may succeed."""


def client_of(config: OpenAIModel) -> openai.AsyncOpenAI:
    """A client that makes each request once. Raises ConfigError when the named key is not set."""
    key = os.environ.get(config.api_key_env, "") if config.api_key_env else "none"
    if not key:
        raise ConfigError(f"api_key_env: the environment variable {config.api_key_env} is not set; export the key")
    return openai.AsyncOpenAI(api_key=key, base_url=config.base_url, timeout=config.timeout_s, max_retries=0)


class OpenAIChatModel:
    """A client of one endpoint and model; at most `concurrency` requests are in flight.

    `journal`: the file in which replies are kept for a later run, and from which those of an earlier one are read.
    """

    def __init__(
        self,
        config: OpenAIModel,
        journal: Path | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Raises ConfigError when the key's environment variable is named but not set."""
        self.name = config.model
        self._config = config
        self._client = client_of(config)
        self._places = asyncio.Semaphore(config.concurrency)
        self._journal = Journal(journal)
        self._spending = Spending(config, self._journal)
        self._limiter = RateLimiter(config.rate)
        self._sleep = sleep
        self._settled = asyncio.Condition()

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The whole reply. Raises GenerationError naming the endpoint and what to check.

        Near the spending limit it waits for the requests that are under way, whose replies say what is left; with
        none under way it raises SpendingLimitReached.
        """
        key = request_key(self.name, request)
        kept = self._journal.get(key)
        if kept is not None:
            return kept
        async with self._places:
            estimate = Counter[str]()

            def may_begin() -> bool:
                nonlocal estimate
                estimate = self._spending.estimate(request)
                return self._spending.begin(estimate)

            async with self._settled:
                await self._settled.wait_for(may_begin)
            replied = False
            try:
                reply = await self._patiently(request, estimate.total())
                self._journal.put(key, reply)
                replied = True
            finally:
                self._spending.end(estimate, replied=replied)
                async with self._settled:
                    self._settled.notify_all()
        return reply

    async def _patiently(self, request: ChatRequest, estimated: int) -> ChatReply:
        """The reply, asked for again after failures that may pass, at the endpoint's pace or with backoff."""
        for attempt in range(self._config.max_retries + 1):
            await self._limiter.admit(estimated)
            try:
                completion = await self._client.chat.completions.create(**arguments(self._config, request))
            except openai.OpenAIError as error:
                wait = wait_after(error, attempt)
                if wait is None or attempt == self._config.max_retries:
                    raise failure(self._config, error) from error
                if isinstance(error, openai.RateLimitError):
                    self._limiter.pause(wait)
                else:
                    await self._sleep(wait)
                continue
            if not completion.choices:
                raise GenerationError(f"{self._config.base_url}: the endpoint returned no choice")
            choice = completion.choices[0]
            reply = reply_of(choice.message.content or "", choice.finish_reason, completion.usage)
            self._limiter.settle(estimated, reply.input_tokens + reply.output_tokens)
            return reply
        raise AssertionError("the last try returns or raises")

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The reply's text piece by piece, then the whole reply. Raises GenerationError as `chat` does."""
        text, finish_reason, usage = "", "", None
        reply_text = ReasoningFilter()
        async with self._places:
            estimate = self._spending.estimate(request)
            await self._limiter.admit(estimate.total())
            try:
                pieces = await self._started(request)
                async for piece in pieces:
                    usage = piece.usage or usage
                    if not piece.choices:
                        continue
                    finish_reason = piece.choices[0].finish_reason or finish_reason
                    said = piece.choices[0].delta.content
                    if said:
                        text += said
                        shown = reply_text.feed(said)
                        if shown:
                            yield shown
            except openai.OpenAIError as error:
                raise failure(self._config, error) from error
        if reply_text.rest():
            yield reply_text.rest()
        yield reply_of(text, finish_reason, usage)

    async def _started(self, request: ChatRequest) -> Any:
        """The stream's pieces, asked for again while the endpoint refuses; nothing has been shown yet."""
        for attempt in range(self._config.max_retries + 1):
            try:
                return await self._client.chat.completions.create(
                    **arguments(self._config, request), stream=True, stream_options={"include_usage": True}
                )
            except openai.OpenAIError as error:
                wait = wait_after(error, attempt)
                if wait is None or attempt == self._config.max_retries:
                    raise
                await self._sleep(wait)
        raise AssertionError("the last try returns or raises")

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()


def arguments(config: OpenAIModel, request: ChatRequest) -> dict[str, Any]:
    """The body of a chat completions request."""
    body: dict[str, Any] = {
        "model": config.model,
        "messages": list(request.messages),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
    }
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = list(request.stop)
    if request.schema is not None and config.structured_outputs:
        schema = {"name": "reply", "schema": request.schema, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return body


def wait_after(error: openai.OpenAIError, attempt: int) -> float | None:
    """Seconds to wait before the same request is tried again; None: it would fail again.

    What the response asks for counts, else backoff. A quota that is used up is no rate that recovers.
    """
    if isinstance(error, openai.APIConnectionError):  # time-outs are among them
        return backoff_s(attempt)
    if not isinstance(error, openai.APIStatusError):
        return None
    passing = error.status_code in PASSING or error.status_code >= 500
    if not passing or error.status_code == 501 or error.code == "insufficient_quota":
        return None
    asked = retry_after_s(error.response.headers)
    if asked is None:
        return backoff_s(attempt)
    return asked if asked <= LONGEST_WAIT_S else None


def failure(config: OpenAIModel, error: openai.OpenAIError) -> GenerationError:
    """One clear line for what the client gave up on."""
    where, model = config.base_url, config.model
    if isinstance(error, openai.BadRequestError):
        return PromptRefused(f"endpoint {where}: refuses the request ({' '.join(error.message.split())[:200]})")
    if isinstance(error, openai.APITimeoutError):
        remedy = f"no answer within {config.timeout_s:g} s; raise timeout_s or lower concurrency"
    elif isinstance(error, openai.APIConnectionError):
        remedy = "cannot be reached; check base_url and that the server runs"
    elif isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        variable = config.api_key_env or "(api_key_env is not set)"
        remedy = f"refuses the key; check the environment variable {variable}"
    elif isinstance(error, openai.NotFoundError):
        remedy = f"does not know the model {model}, or base_url lacks its /v1"
    elif isinstance(error, openai.RateLimitError):
        remedy = "limits the rate even after retries; set rate, lower concurrency or raise max_retries"
        if error.code == "insufficient_quota":
            remedy = "the account's quota is used up; raise it with the provider"
    elif isinstance(error, openai.APIStatusError):
        remedy = f"answered status {error.status_code} ({' '.join(error.message.split())[:200]})"
    else:
        remedy = f"failed ({type(error).__name__})"
    return GenerationError(f"endpoint {where}: {remedy}")


def reply_of(text: str, finish_reason: str | None, usage: CompletionUsage | None) -> ChatReply:
    """A reply without its reasoning, with the tokens that the endpoint counted; none where it counts none.

    Half a surrogate pair, which JSON can hold and neither a table nor a file can, becomes a question mark.
    """
    details = usage.prompt_tokens_details if usage else None
    return ChatReply(
        text=without_reasoning(text).encode(errors="replace").decode(),
        finish_reason=finish_reason or "",
        input_tokens=usage.prompt_tokens if usage else 0,
        output_tokens=usage.completion_tokens if usage else 0,
        cached_tokens=(details.cached_tokens or 0) if details else 0,
    )
