"""Putting prompts to a model: parsing, one retry, accounts."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from memo_ray.errors import EngineDied, GenerationError, PromptRefused, SpendingLimitReached
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.synthesis import schemas
from memo_ray.synthesis.asking import Asker, Prompt, StepCount
from tests.unit.synthesis.conftest import Scripted


def prompt(text: str = "Say something.", sample: int = 0) -> Prompt:
    return Prompt(
        "direct", ({"role": "user", "content": text},), schemas.PAIR, 0.5, 1.0, 50, "", ("c1",), ("d1",), sample
    )


def ask(model: Scripted, *prompts: Prompt) -> tuple[Asker, list[object]]:
    asker = Asker(model)
    answered = asyncio.run(asker.ask(prompts))
    return asker, [value for _, value in answered]


def test_a_good_reply_is_read_and_charged():
    asker, values = ask(Scripted(lambda _: {"question": "Q?", "answer": "A"}), prompt())
    assert values == [{"question": "Q?", "answer": "A"}]
    assert asker.cost == {"prompts": 1, "input_tokens": 10, "output_tokens": 5, "cached_tokens": 4}
    assert asker.count("direct").prompts == 1 and not asker.losses


def test_a_bad_reply_is_asked_again_once_with_the_error():
    replies = iter(["no json", {"question": "Q?", "answer": "A"}])
    model = Scripted(lambda _: next(replies))
    asker, values = ask(model, prompt())
    assert len(values) == 1
    assert asker.count("direct").retried == {"unparsed": 1} and not asker.count("direct").failed
    again = model.asked[1].messages
    assert again[1] == {"role": "assistant", "content": "no json"}
    assert "not valid JSON" in again[2]["content"]


def test_two_bad_replies_are_a_loss_with_prompt_and_reply():
    asker, values = ask(Scripted(lambda _: "no json"), prompt("Tell me."))
    assert values == []
    (loss,) = asker.losses
    assert (loss.reason, loss.prompt, loss.reply, loss.chunk_id) == ("unparsed", "Tell me.", "no json", "c1")
    assert asker.count("direct").failed == {"unparsed": 1}
    assert asker.cost["prompts"] == 2


def test_a_reply_cut_at_the_limit_is_truncated():
    class Cut(Scripted):
        async def chat(self, request: ChatRequest) -> ChatReply:
            return ChatReply('{"question":"Wh', "length", 10, 50)

    model = Cut(lambda _: "")
    asker, _ = ask(model, prompt())
    assert asker.losses[0].reason == "truncated"


def test_after_a_cut_reply_half_as_many_items_are_asked_for():
    class CutOnce(Scripted):
        async def chat(self, request: ChatRequest) -> ChatReply:
            self.asked.append(request)
            pairs = [{"question": f"Who built wall {n}?", "answer": "Rolf"} for n in range(8)]
            text = json.dumps({"pairs": pairs})
            if len(self.asked) == 1:
                return ChatReply(text[:-30], "length", 10, 50)
            return ChatReply(json.dumps({"pairs": pairs[:3]}), "stop", 10, 20)

    model = CutOnce(lambda _: "")
    asker, (value,) = ask(model, replace(prompt(), schema=schemas.PAIRS))
    assert isinstance(value, dict) and len(value["pairs"]) == 3 and not asker.losses
    first, second = model.asked
    assert len(second.messages) == 1, "the cut reply is not shown"
    assert "cut at 50 tokens. List at most 4" in second.messages[-1]["content"]
    assert second.schema is not None and second.schema["properties"]["pairs"]["maxItems"] == 4
    assert (second.max_tokens, second.request_id) == (first.max_tokens, f"{first.request_id}-2")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PromptRefused("its prompt has 9000 tokens, the model allows 2048"), "refused"),
        (GenerationError("endpoint: cannot be reached"), "engine"),
    ],
)
def test_a_model_that_cannot_answer_is_a_loss(error: GenerationError, reason: str):
    def fail(_: ChatRequest) -> str:
        raise error

    asker, values = ask(Scripted(fail), prompt())
    assert values == [] and asker.losses[0].reason == reason


@pytest.mark.parametrize("error", [EngineDied, SpendingLimitReached])
def test_a_dead_engine_or_a_spending_limit_is_not_a_loss_but_ends_the_work(error: type[GenerationError]):
    def die(_: ChatRequest) -> str:
        raise error("gone")

    with pytest.raises(error):
        ask(Scripted(die), prompt())


def test_ids_and_seeds_come_from_the_prompt_alone():
    assert prompt().prompt_id == prompt().prompt_id and prompt().seed == prompt().seed
    assert len({prompt("a").prompt_id, prompt("b").prompt_id, prompt("a", sample=1).prompt_id}) == 3
    assert 0 <= prompt().seed < 2**31


def test_counts_survive_json():
    count = StepCount(3, 1, 5, 2)
    count.lost["duplicate"] += 3
    count.failed["unparsed"] += 1
    count.retried["truncated"] += 1
    again = StepCount.read(count.to_json())
    assert again == count
    again.add(count)
    assert again.made == 10 and again.lost["duplicate"] == 6
