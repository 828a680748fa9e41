"""Replies that are kept for a later try, and an engine that stops to answer."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from memo_ray.errors import EngineDied
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.models.journal import Journal
from memo_ray.models.watched import JournaledModel, WatchedModel
from tests.unit.synthesis.conftest import Scripted


def request(name: str) -> ChatRequest:
    return ChatRequest(name, ({"role": "user", "content": name},), 0.0, 8)


def test_a_kept_reply_is_not_asked_for_by_a_later_process(tmp_path: Path):
    first, second = (Scripted(lambda request: f"{request.request_id}!") for _ in range(2))
    told = asyncio.run(JournaledModel(first, Journal(tmp_path / "row.jsonl")).chat(request("a")))
    later = JournaledModel(second, Journal(tmp_path / "row.jsonl"))
    assert asyncio.run(later.chat(request("a"))) == told
    assert asyncio.run(later.chat(request("b"))).text == "b!"
    assert (len(first.asked), len(second.asked)) == (1, 1)


def test_a_reply_is_paid_for_once_however_often_it_is_given():
    model = Scripted(lambda request: f"{request.request_id}!")
    once = JournaledModel(model, Journal())
    for name in "aba":
        assert asyncio.run(once.chat(request(name))).text == f"{name}!"
    assert len(model.asked) == 2
    assert once.cost == {"prompts": 2, "input_tokens": 20, "output_tokens": 10, "cached_tokens": 8}


class Hanging:
    """Answers the prompts of `answered` at once, and never any other."""

    name = "hanging"

    def __init__(self, *answered: str) -> None:
        self.answered, self.cancelled = answered, 0

    async def chat(self, request: ChatRequest) -> ChatReply:
        try:
            await asyncio.sleep(0 if request.request_id in self.answered else 3600)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return ChatReply("yes", "stop", 1, 1)

    async def stream(self, request: ChatRequest):
        yield await self.chat(request)

    async def close(self) -> None: ...


def test_an_engine_that_answers_nothing_any_more_counts_as_dead():
    engine = Hanging("a")
    watched = WatchedModel(engine, 0.05)

    async def ask() -> list[ChatReply | BaseException]:
        return await asyncio.gather(*(watched.chat(request(name)) for name in "abc"), return_exceptions=True)

    replied, *dead = asyncio.run(ask())
    assert isinstance(replied, ChatReply) and replied.text == "yes"
    assert len(dead) == 2 and all(isinstance(error, EngineDied) for error in dead)
    assert "raise no_progress_s" in str(dead[0]) and engine.cancelled == 2


def test_replies_to_others_keep_a_slow_prompt_waiting():
    class Slow(Hanging):
        async def chat(self, request: ChatRequest) -> ChatReply:
            await asyncio.sleep(0.12 if request.request_id == "slow" else 0.03)
            return ChatReply("yes", "stop", 1, 1)

    watched = WatchedModel(Slow(), 0.06)

    async def ask() -> str:
        slow = asyncio.create_task(watched.chat(request("slow")))
        while not slow.done():
            await watched.chat(request("quick"))
        return (await slow).text

    assert asyncio.run(ask()) == "yes"


def test_errors_of_the_model_pass():
    def die(_: ChatRequest) -> str:
        raise EngineDied("gone")

    with pytest.raises(EngineDied, match="gone"):
        asyncio.run(WatchedModel(Scripted(die), 1).chat(request("a")))
