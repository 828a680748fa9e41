from __future__ import annotations

import asyncio
import json

import pytest

from memo_ray.errors import ConfigError, GenerationError, ProtocolError
from memo_ray.models.chat import ChatReply
from memo_ray.protocol.driver import run_protocol
from memo_ray.protocol.protocol import replay


class ScriptedModel:
    """A chat model that says what `answer(request)` returns, after `seconds(request)`; it notes what was in flight."""

    def __init__(self, answer, seconds=lambda request: 0.0):
        self.name = "scripted"
        self.answer = answer
        self.seconds = seconds
        self.requests = []
        self.in_flight = self.most_in_flight = self.cancelled = 0

    async def chat(self, request):
        self.requests.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.seconds(request))
            text = self.answer(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.in_flight -= 1
        return ChatReply(text if isinstance(text, str) else json.dumps(text), "stop", 7, 3)

    def stream(self, request):
        raise NotImplementedError

    async def close(self):
        pass


@pytest.fixture
def executive(script):
    def answer(request):
        stage = request.request_id.split("/")[1].split("-")[0]
        return {
            "grounding": script.ground("a?", "b?", "c?"),
            "identification": script.identify("d?", candidates=[("Ilse Verran", 1)], confirmed="Ilse Verran"),
            "answering": script.seek("e?", decision="answer"),
            "synthesis": script.final("1790", 2),
        }[stage]

    return ScriptedModel(answer)


def run(*args, **kwargs):
    return asyncio.run(asyncio.wait_for(run_protocol(*args, **kwargs), 20))


def test_independent_asks_run_at_the_same_time(script, executive):
    memory = ScriptedModel(lambda request: f"answer to {request.messages[-1]['content']}", seconds=lambda request: 0.05)
    seen = []
    outcome = run(script.question, executive, memory, script.config(), seen.append, run_id="q1")
    assert memory.most_in_flight == 3
    assert (outcome.answer, outcome.justification) == ("1790", "It follows.")
    assert [item.answer for item in outcome.citations] == ["answer to b?"]
    assert [request.request_id for request in memory.requests] == [f"q1/grounding-001.m00{n}" for n in (1, 2, 3)]
    assert (outcome.input_tokens, outcome.output_tokens) == (7 * 7, 7 * 3)
    assert [event.stage for event in seen if event.kind == "stage"] == list(outcome.seconds_by_stage)
    assert outcome.seconds_by_stage["grounding"] >= 0.05
    assert outcome.seconds >= sum(outcome.seconds_by_stage.values()) - 0.01
    assert replay(outcome.transcript) == outcome.done


def test_a_slow_first_answer_keeps_its_place(script, executive):
    memory = ScriptedModel(
        lambda request: request.messages[-1]["content"],
        seconds=lambda request: 0.1 * request.request_id.endswith("m001"),
    )
    outcome = run(script.question, executive, memory, script.config())
    assert [item.question for item in outcome.done.evidence] == ["a?", "b?", "c?"]


def test_requests_carry_what_the_protocol_decided(script, executive):
    memory = ScriptedModel(lambda request: "1790")
    run(script.question, executive, memory, script.config(memory_max_tokens=33))
    assert executive.requests[0].schema["required"] == ["questions"]
    assert (executive.requests[0].temperature, executive.requests[0].top_p) == (0.4, 0.95)
    assert (memory.requests[0].max_tokens, memory.requests[0].schema) == (33, None)
    prefixes = {request.request_id.split("/")[0] for request in (*executive.requests, *memory.requests)}
    assert len(prefixes) == 1


def test_a_model_that_cannot_answer_degrades_the_answer(script, executive):
    def down(request):
        raise GenerationError("http://memory: connection refused; start it")

    outcome = run(script.question, executive, ScriptedModel(down), script.config())
    assert outcome.done.evidence[0].note == "failed: http://memory: connection refused; start it"
    outcome = run(script.question, ScriptedModel(down), ScriptedModel(down), script.config())
    assert (outcome.done.stop_reason, outcome.answer) == ("failed", "I don't know")


def test_the_deadline_cancels_what_is_under_way(script, executive):
    memory = ScriptedModel(
        lambda request: "1790", seconds=lambda request: 0.0 if request.request_id.endswith("m001") else 60
    )

    async def ask():
        outcome = await run_protocol(script.question, executive, memory, script.config(deadline_s=0.3))
        assert (memory.cancelled, memory.in_flight) == (2, 0), "it did not wait until the model had let go"
        return outcome

    outcome = asyncio.run(asyncio.wait_for(ask(), 20))
    assert (outcome.answer, outcome.done.stop_reason) == ("1790", "deadline")
    assert outcome.seconds < 5
    assert replay(outcome.transcript) == outcome.done


def test_cancelling_the_call_cancels_its_asks(script, executive):
    memory = ScriptedModel(lambda request: "", seconds=lambda request: 60)

    async def give_up():
        task = asyncio.create_task(run_protocol(script.question, executive, memory, script.config()))
        while memory.in_flight < 3:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(give_up(), 20))
    assert (memory.cancelled, memory.in_flight) == (3, 0)


def test_a_bug_in_a_model_is_not_taken_for_an_answer(script, executive):
    def broken(request):
        raise KeyError("oops")

    memory = ScriptedModel(broken, seconds=lambda request: 0.01)
    with pytest.raises(KeyError, match="oops"):
        run(script.question, executive, memory, script.config())
    assert memory.in_flight == 0


def test_an_enforced_schema_saves_the_repair(script):
    def garbage(request):
        return "no JSON"

    enforced, free = ScriptedModel(garbage), ScriptedModel(garbage)
    memory = ScriptedModel(garbage)
    run(script.question, enforced, memory, script.config(identification=2), schema_enforced=True)
    run(script.question, free, memory, script.config(identification=2))
    assert (len(enforced.requests), len(free.requests)) == (4, 8)


def test_an_empty_question_raises(script, executive):
    with pytest.raises(ProtocolError, match="the question is empty"):
        run("  ", executive, executive, script.config())


def test_many_questions_at_once_do_not_mix(script, executive):
    memory = ScriptedModel(lambda request: request.messages[-1]["content"], seconds=lambda request: 0.001)

    async def many():
        return await asyncio.gather(
            *(run_protocol(f"question {n}?", executive, memory, script.config()) for n in range(50))
        )

    outcomes = asyncio.run(asyncio.wait_for(many(), 60))
    assert [json.loads(outcome.transcript[1])["question"] for outcome in outcomes] == [
        f"question {n}?" for n in range(50)
    ]
    assert len({request.request_id for request in memory.requests}) == 150


class ScriptedRouter:
    """Sends a question to the memories that `chosen` lists for it, else to all; keeps the longest answer."""

    def __init__(self, **chosen):
        self.chosen = chosen

    def choose(self, question):
        return self.chosen.get(question[0], ("law", "wiki"))

    def keep(self, question, answers):
        return max(answers, key=lambda name: len(answers[name]))


def routed(script, executive, router, law="short", wiki="a longer answer", **settings):
    memories = {"law": ScriptedModel(lambda request: law), "wiki": ScriptedModel(lambda request: wiki)}
    config = script.config(memories=("law", "wiki"), routing="likeliest", **settings)
    return run(script.question, executive, memories, config, router=router), memories


def test_a_router_chooses_the_memory_of_each_sub_question(script, executive):
    router = ScriptedRouter(a=("law",), b=("wiki",))
    outcome, memories = routed(script, executive, router)
    found = [(item.question, item.memory, item.answer) for item in outcome.done.evidence]
    assert found[:3] == [("a?", "law", "short"), ("b?", "wiki", "a longer answer"), ("c?", "wiki", "a longer answer")]
    asked = {name: [request.messages[-1]["content"] for request in one.requests] for name, one in memories.items()}
    assert asked["law"][:2] == ["a?", "c?"] and asked["wiki"][:2] == ["b?", "c?"]
    assert sum(stage.memory_input_tokens for stage in outcome.stages) == 7 * sum(map(len, asked.values()))
    assert replay(outcome.transcript) == outcome.done, "a replay needs no router"


def test_a_routed_memory_that_fails_is_passed_over_until_none_is_left(script, executive):
    def down(request):
        raise GenerationError("the endpoint is down")

    config = script.config(memories=("law", "wiki"), routing="all")
    up = {"law": ScriptedModel(down), "wiki": ScriptedModel(lambda request: "1790")}
    outcome = run(script.question, executive, up, config, router=ScriptedRouter())
    assert {item.memory for item in outcome.done.evidence} == {"wiki"}
    none = {"law": ScriptedModel(down), "wiki": ScriptedModel(down)}
    outcome = run(script.question, executive, none, config, router=ScriptedRouter())
    assert outcome.done.evidence[0].note == "failed: no memory answered: the endpoint is down"


def test_the_wordings_of_a_routed_sub_question_give_one_answer(script, executive):
    def answer(request):
        if request.request_id.endswith("wordings"):
            return {"wordings": [["In other words?"]] * 3}
        return executive.answer(request)

    outcome, _ = routed(script, ScriptedModel(answer), ScriptedRouter(a=("law",)), wordings=2)
    found = [(item.question, item.memory, item.answer, item.agreement) for item in outcome.done.evidence]
    assert found[:2] == [("a?", "law", "short", "1 of 2"), ("b?", "wiki", "a longer answer", "2 of 2")]
    assert replay(outcome.transcript) == outcome.done


def test_routing_without_a_router_is_refused(script, executive):
    with pytest.raises(ConfigError, match=r"protocol\.routing: needs a router"):
        routed(script, executive, None)
