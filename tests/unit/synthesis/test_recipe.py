"""The recipe as a whole, with a generator that writes well, writes badly, or judges."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from memo_ray.config.synthesis import HeldOut, Quality, StepName, SynthesisConfig
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.synthesis import recipe
from memo_ray.synthesis.candidates import Candidate
from memo_ray.synthesis.pairs import Source
from memo_ray.synthesis.recipe import Unit, UnitResult, connect, synthesise_unit
from memo_ray.synthesis.settings import StepSettings
from tests.ray.writing_endpoint import written
from tests.unit.synthesis.conftest import Scripted, config, make_chunk, make_pair

TEXT = (
    "The mason Rolf Anstick built the wall of Esk from red granite in 1784. "
    "Rolf Anstick painted the door of the Vell Tower with blue ink. "
    "The poet Nora Fenwith wrote the song Blue Door for the Vell Tower."
)


def good(request: ChatRequest) -> Any:
    return written(request.messages[-1]["content"], request.schema or {})


def run(
    settings: SynthesisConfig, reply: Any = good, text: str = TEXT, held_out: int = 2
) -> tuple[UnitResult, Scripted]:
    model = Scripted(reply)
    unit = Unit("u", [Source(make_chunk(text), ("solt-works",))], held_out)
    return asyncio.run(synthesise_unit(unit, model, StepSettings.load(settings))), model


def steps(result: UnitResult) -> set[str]:
    return {pair.step for pair in result.pairs}


def test_every_step_of_a_chunk_yields_pairs():
    result, _ = run(config())
    assert steps(result) == {"direct", "indirect", "consolidation", "entities", "rephrase"}
    assert sum(pair.split == "held_out" for pair in result.pairs) == 2
    questions = [pair.question for pair in result.pairs]
    assert "When did the mason Rolf Anstick build the wall of Esk from red granite?" in questions
    assert all(pair.prompt_id and pair.seed for pair in result.pairs)


def test_made_is_pairs_and_losses():
    result, _ = run(config(held_out=HeldOut(share=0.0)))
    made = sum(count["made"] for count in result.counts.values())
    lost = sum(sum(count["lost"].values()) for count in result.counts.values())
    assert made == len(result.pairs) + lost


@pytest.mark.parametrize("step", ["direct", "indirect", "consolidation", "entities"])
def test_an_ablation_leaves_one_step_out_and_runs_the_others(step: str):
    result, _ = run(config(without=(step,)))
    assert step not in steps(result)
    assert step not in result.counts or result.counts[step]["prompts"] == 0
    assert steps(result)


def test_the_same_chunk_gives_the_same_pairs():
    assert run(config())[0] == run(config())[0]


@pytest.mark.parametrize("slow", ["direct", "indirect"])
def test_which_step_ends_first_changes_no_prompt(slow: str):
    settings = StepSettings.load(config())
    first = {prompt.prompt_id for prompt in recipe.extraction.prompts(slow, make_chunk(TEXT), settings)}

    class Uneven(Scripted):
        async def chat(self, request: ChatRequest) -> ChatReply:
            for _ in range(20 if request.request_id in first else 0):
                await asyncio.sleep(0)
            return await super().chat(request)

    model, unit = Uneven(good), Unit("u", [Source(make_chunk(TEXT), ("solt-works",))], 2)
    result = asyncio.run(synthesise_unit(unit, model, settings))
    whole, asked = run(config())
    assert result.pairs == whole.pairs
    assert {request.request_id for request in model.asked} == {request.request_id for request in asked.asked}


@pytest.mark.parametrize("slow", ["direct", "indirect"])
def test_of_twins_of_both_steps_the_direct_one_stays(slow: str):
    class Uneven(Scripted):
        async def chat(self, request: ChatRequest) -> ChatReply:
            step = "indirect" if "follows from it" in request.messages[-1]["content"] else "direct"
            for _ in range(20 if step == slow else 0):
                await asyncio.sleep(0)
            return await super().chat(request)

    others = ("consolidation", "verification", "entities")
    settings = StepSettings.load(SynthesisConfig(without=others, held_out=HeldOut(share=0.0)))
    model = Uneven(lambda _: {"pairs": [{"question": "Who built the wall of Esk?", "answer": "Rolf Anstick"}]})
    result = asyncio.run(synthesise_unit(Unit("u", [Source(make_chunk(TEXT))]), model, settings))
    assert [pair.step for pair in result.pairs] == ["direct"]
    assert [(loss.step, loss.reason) for loss in result.losses] == [("indirect", "duplicate")]


def test_an_invented_answer_does_not_survive_the_round_trip():
    def wrong(request: ChatRequest) -> Any:
        value = good(request)
        options = (request.schema or {})["properties"].get("answer", {}).get("enum")
        return {"answer": options[-1]} if options else value

    result, _ = run(config(), wrong)
    assert result.counts["direct"]["lost"]["round_trip"] > 0


def chunk_reply(request: ChatRequest) -> Any:
    """A large generator on whole chunks: one bad pronoun, mended at the second try."""
    said = request.messages[-1]["content"]
    properties = (request.schema or {})["properties"]
    if "verdicts" in properties:
        lines = [line for line in said.splitlines() if " Q: " in line and line[0].isdigit()]
        bad = [n for n, line in enumerate(lines, 1) if " he " in line]
        return {
            "verdicts": [
                {"pair": n, "violations": ["unresolved_pronoun"] if n in bad else []} for n in range(1, len(lines) + 1)
            ]
        }
    if "entities" in properties:
        return {"entities": [{"name": "Rolf Anstick", "pairs": [1, 2]}]}
    if "Entity: Rolf Anstick" in said:
        return {"pairs": [{"question": "Which mason built the wall of Esk?", "uses": [1]},
                          {"question": "Who is Rolf Anstick?", "uses": [2]}]}  # fmt: skip
    if set(properties) == {"question", "answer"}:
        return {
            "question": "What did Rolf Anstick paint?" if "paint" in said.split("Question:")[1] else "When did he go?",
            "answer": "a door",
        }
    if set(properties) == {"question"}:
        return {"question": "By whom was the wall of Esk built?"}
    if "uses" in json.dumps(properties):
        return {
            "pairs": [
                {
                    "kind": "entity",
                    "question": "Who built the wall of Esk and painted a door?",
                    "answer": "Rolf Anstick",
                    "uses": [1, 2],
                }
            ]
        }
    if "Read the text once more" in said:
        return {"pairs": [{"question": "In which year was the wall of Esk built?", "answer": "1784"}]}
    if "follows from it" in said:
        return {"pairs": [{"question": "When did he go?", "answer": "later"}]}
    return {
        "pairs": [
            {"question": "Who built the wall of Esk?", "answer": "Rolf Anstick"},
            {"question": "What did he paint?", "answer": "a door"},
        ]
    }


def test_the_papers_way_on_a_whole_chunk():
    settings = SynthesisConfig(max_rewrites=2, held_out=HeldOut(share=1.0), min_pairs_to_consolidate=2)
    result, model = run(settings, chunk_reply, held_out=1)
    questions = {pair.question: pair for pair in result.pairs}
    assert questions["What did Rolf Anstick paint?"].step == "direct"
    assert "What did he paint?" not in questions and "When did he go?" not in questions
    assert [loss.reason for loss in result.losses if loss.step == "indirect"] == ["not_self_contained"]
    assert questions["Who built the wall of Esk and painted a door?"].step == "consolidation"
    assert questions["Which mason built the wall of Esk?"].step == "entities"
    assert [loss.reason for loss in result.losses if loss.step == "entities"] == ["names_entity"]
    assert questions["By whom was the wall of Esk built?"].split == "held_out"
    rewritings = [
        request for request in model.asked if "cannot be understood without the text" in request.messages[-1]["content"]
    ]
    assert len(rewritings) == 1 + 2, "one pair mended at once, one tried max_rewrites times"
    assert {pair.evidence for pair in result.pairs} == {""}, "no pair carries the whole chunk along"


def test_a_merged_pair_points_at_its_parents_as_they_are_after_their_rewriting():
    settings = SynthesisConfig(min_pairs_to_consolidate=2, held_out=HeldOut(share=0.0))
    result, _ = run(settings, chunk_reply)
    ids = {pair.question: pair.reflection_id for pair in result.pairs}
    (merged,) = [pair for pair in result.pairs if pair.step == "consolidation"]
    assert merged.parents == (ids["Who built the wall of Esk?"], ids["What did Rolf Anstick paint?"])
    assert (merged.kind, result.counts["verification"]["kinds"]["rewritten"]) == ("entity", 1)
    assert result.counts["verification"]["kinds"]["unresolved_pronoun"] == 2


def test_a_pair_without_a_verdict_is_put_once_more_and_then_discarded():
    def lazy(request: ChatRequest) -> Any:
        value = chunk_reply(request)
        return {"verdicts": value["verdicts"][:1]} if "verdicts" in value else value

    settings = SynthesisConfig(without=("indirect", "entities", "consolidation"), held_out=HeldOut(share=0.0))
    result, model = run(settings, lazy, text=TEXT)
    assert [pair.question for pair in result.pairs] == ["Who built the wall of Esk?", "What did Rolf Anstick paint?"]
    result, model = run(settings, lambda r: {"verdicts": []} if "verdicts" in str(r.schema) else chunk_reply(r))
    assert not result.pairs and [loss.reason for loss in result.losses] == ["unjudged", "unjudged"]
    assert sum("verdicts" in str(request.schema) for request in model.asked) == 2


@pytest.mark.parametrize("step", ["direct", "indirect", "consolidation", "verification", "entities"])
def test_each_row_of_table_9_leaves_one_step_of_the_papers_way_out(step: StepName):
    common: dict[str, Any] = {"min_pairs_to_consolidate": 2, "held_out": HeldOut(share=0.0), "max_rewrites": 1}
    full, _ = run(SynthesisConfig(**common), chunk_reply)
    result, _ = run(SynthesisConfig(**common, without=(step,)), chunk_reply)
    asked = {name for name, count in result.counts.items() if count["prompts"] + count["checks"]}
    assert step in full.counts and step not in asked | steps(result)
    others = {"direct", "indirect", "consolidation", "verification", "entities"} - {step}
    if step != "direct":  # the scripted generator has one pair left then, too few for the later steps
        assert others <= asked


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"without": ("direct", "indirect")}, "nothing reads the text"), ({"fill_rounds": 1}, "needs prompts: chunk")],
)
def test_recipes_that_cannot_work_are_refused(settings: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        config(**settings)


def test_the_options_of_appendix_e2_are_off_and_add_pairs_of_their_own_step():
    plain, _ = run(SynthesisConfig(held_out=HeldOut(share=0.0)), chunk_reply)
    assert not {"fill", "paraphrase"} & (steps(plain) | set(plain.counts))
    settings = SynthesisConfig(fill_rounds=2, paraphrases=1, held_out=HeldOut(share=0.0))
    result, _ = run(settings, chunk_reply)
    filled = [pair for pair in result.pairs if pair.step == "fill"]
    assert [pair.answer for pair in filled] == ["1784"]
    assert result.counts["fill"]["lost"] == {"duplicate": 1}, "the second round brings nothing new"
    parent = next(pair for pair in result.pairs if pair.question == "Who built the wall of Esk?")
    (other,) = [pair for pair in result.pairs if pair.parents == (parent.reflection_id,) and pair.step == "paraphrase"]
    assert (other.question, other.answer, other.split) == ("By whom was the wall of Esk built?", parent.answer, "train")


def test_personal_data_never_reaches_the_generator_and_is_counted():
    settings = SynthesisConfig(quality=Quality(redact=("email", "ip")), held_out=HeldOut(share=0.0))
    result, model = run(settings, chunk_reply, text=f"{TEXT} Write to rolf@example.org or 192.0.2.17.")
    said = " ".join(message["content"] for request in model.asked for message in request.messages)
    assert "example.org" not in said and "[EMAIL] or [IP]." in said
    assert result.counts["redaction"]["kinds"] == {"email": 1, "ip": 1}


def test_rules_send_a_pair_to_be_rewritten_that_the_generator_let_pass():
    def careless(request: ChatRequest) -> Any:
        value = chunk_reply(request)
        return {"verdicts": [{**v, "violations": []} for v in value["verdicts"]]} if "verdicts" in value else value

    settings = SynthesisConfig(quality=Quality(self_contained_rules=True), held_out=HeldOut(share=0.0))
    questions = {pair.question for pair in run(settings, careless)[0].pairs}
    assert "What did Rolf Anstick paint?" in questions and "What did he paint?" not in questions
    plain = SynthesisConfig(held_out=HeldOut(share=0.0))
    assert "What did he paint?" in {pair.question for pair in run(plain, careless)[0].pairs}


def test_without_verification_nothing_is_judged():
    settings = SynthesisConfig(without=("verification",), held_out=HeldOut(share=0.0))
    result, model = run(settings, chunk_reply)
    assert not any("verdicts" in str(request.schema) for request in model.asked)
    assert "What did he paint?" in {pair.question for pair in result.pairs}


def test_facts_of_a_document_are_gathered_over_its_chunks():
    chunks = [
        make_chunk("The mason Rolf Anstick built the wall of Esk in 1784."),
        make_chunk("Rolf Anstick painted the Vell Tower with blue ink."),
    ]
    unit = Unit("d", [Source(chunk) for chunk in chunks])
    settings = StepSettings.load(config(entity_scope="document"))
    result = asyncio.run(synthesise_unit(unit, Scripted(good), settings))
    described = [pair for pair in result.pairs if pair.step == "entities"]
    assert {pair.chunk_ids for pair in described} == {tuple(chunk.chunk_id for chunk in chunks)}


def test_step_5_connects_two_chunks():
    anchor = make_pair(
        "Who built the wall of Esk?",
        "Rolf Anstick",
        evidence="The mason Rolf Anstick built the wall of Esk.",
        chunk_ids=("a",),
    )
    other = make_pair(
        "Who lit the Vell Tower?", "Rolf Anstick", evidence="Rolf Anstick lit the Vell Tower.", chunk_ids=("b",)
    )
    settings = StepSettings.load(config())
    result = asyncio.run(connect(Candidate("g", anchor, (other,)), (), Scripted(good), settings))
    (pair,) = result.pairs
    assert pair.question == "Who built the wall of Esk and lit the Vell Tower?"
    assert (pair.step, pair.answer, pair.chunk_ids, pair.group_id) == ("connections", "Rolf Anstick", ("a", "b"), "g")
