"""What the tests of the synthesis share: a chunk to work on, and a generator that says what a test tells it to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from memo_ray.config.synthesis import Connections, Grounding, HeldOut, Sampling, SynthesisConfig
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.rows import Chunk, content_id
from memo_ray.synthesis.pairs import Pair
from memo_ray.synthesis.settings import StepSettings

TEXT = (
    "The glassblower Imre Solt founded the Solt Works in the town of Varda in 1902. "
    "The Solt Works stands on the island of Ost. "
    "The painter Lena Korb was the sister of the glassblower Imre Solt."
)


def make_chunk(text: str = TEXT, document_id: str = "solt-works") -> Chunk:
    """A whole document as one chunk."""
    return Chunk(content_id("chunk", text), document_id, 0, "Solt", text, len(text.split()), 0, len(text), "")


def make_pair(question: str, answer: str, **changes: Any) -> Pair:
    """A pair of one chunk, with whatever a test wants different."""
    values = {
        "question": question,
        "answer": answer,
        "step": "direct",
        "evidence": TEXT,
        "chunk_ids": ("c1",),
        "document_ids": ("d1",),
        "prompt_id": "p1",
        "seed": 1,
    }
    return Pair(**(values | changes))


class Scripted:
    """A ChatModel whose replies a function makes from the request; keeps what it was asked."""

    name = "scripted"

    def __init__(self, reply: Callable[[ChatRequest], Any]) -> None:
        self._reply = reply
        self.asked: list[ChatRequest] = []

    async def chat(self, request: ChatRequest) -> ChatReply:
        self.asked.append(request)
        said = self._reply(request)
        text = said if isinstance(said, str) else json.dumps(said)
        return ChatReply(text, "stop", input_tokens=10, output_tokens=5, cached_tokens=4)

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        reply = await self.chat(request)
        yield reply.text
        yield reply

    async def close(self) -> None:
        return None


def config(**changes: Any) -> SynthesisConfig:
    """The settings for a tiny generator."""
    values: dict[str, Any] = {
        "prompts": "sentence",
        "answers": "spans",
        "sampling": Sampling(temperature=0.0, top_p=1.0, max_tokens=96),
        "grounding": Grounding(lexical=True, strict_questions=True, round_trip=True),
        "connections": Connections(candidates="shared_entities"),
        "held_out": HeldOut(share=0.5, max_questions=10),
    }
    return SynthesisConfig(**(values | changes))


@pytest.fixture
def chunk() -> Chunk:
    return make_chunk()


@pytest.fixture
def tiny() -> StepSettings:
    """The sentence set with answers cut by rules."""
    return StepSettings.load(config())


@pytest.fixture
def paper() -> StepSettings:
    """The paper's way: whole chunks, no checks of ours."""
    return StepSettings.load(SynthesisConfig())
