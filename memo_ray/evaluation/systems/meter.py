"""A ChatModel that counts: tokens and calls of one question, whoever asked, and the last error.

It also gives every request a seed of its own, derived from the run's, so that a run is another run only by its seed.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import replace

from memo_ray.errors import GenerationError, PromptRefused
from memo_ray.evaluation.systems.system import added
from memo_ray.models.chat import ChatModel, ChatReply, ChatRequest


class Meter:
    """`model`, counted. One meter a question and model."""

    def __init__(self, model: ChatModel, seed: int) -> None:
        self.name = model.name
        self.calls = self.replies = self.input_tokens = self.output_tokens = 0
        self.error: GenerationError | None = None
        self._model = model
        self._seed = seed

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The model's reply, counted. Raises as the model does."""
        self.calls += 1
        try:
            reply = await self._model.chat(replace(request, seed=seed_of(self._seed, request)))
        except PromptRefused:
            raise
        except GenerationError as error:
            self.error = error
            raise
        self.replies += 1
        self.input_tokens += reply.input_tokens
        self.output_tokens += reply.output_tokens
        return reply

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The whole reply as one piece, then the reply: nobody watches an evaluation."""
        reply = await self.chat(request)
        yield reply.text
        yield reply

    async def close(self) -> None:
        """Nothing: the model belongs to the run."""


def seed_of(seed: int, request: ChatRequest) -> int:
    """A seed of 31 bits for this prompt in this run."""
    said = "\x1f".join(message["content"] for message in request.messages)
    return int.from_bytes(hashlib.sha256(f"{seed}\x1f{said}".encode()).digest()[:4]) >> 1


def tokens_of(*meters: Meter) -> dict[str, tuple[int, int]]:
    """Tokens by model name; two meters of one model are added up."""
    found: dict[str, tuple[int, int]] = {}
    for meter in meters:
        found = added(found, {meter.name: (meter.input_tokens, meter.output_tokens)})
    return found
