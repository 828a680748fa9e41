"""The short prompts: what a tiny executive sees, may reply, and what becomes of it."""

from __future__ import annotations

import json
import re

import pytest

from memo_ray.protocol import short
from memo_ray.protocol.executive import digest
from memo_ray.protocol.protocol import start
from memo_ray.protocol.state import Ask

QUESTION = "What was the trade of the woman who founded Port Amber?"
KNOWN = {
    QUESTION: "a baker",
    "Who founded Port Amber?": "Ada Moss",
    "What was the trade of Ada Moss?": "glass blower",
}
REPLIES = [
    {"question": "Who founded Port Amber?"},
    {"answer": "Ada Moss"},
    {"question": "What was the trade of Ada Moss?"},
    {"answer": "glass blower"},
]


@pytest.fixture
def config(script):
    return script.config(1, 1, 1, prompts="short")


def test_a_question_goes_through_all_stages(script, config):
    played = script.play(REPLIES, KNOWN, config, question=QUESTION)
    assert played.done.answer == "glass blower"
    assert played.questions("grounding") == [QUESTION, "Who founded Port Amber?"]
    assert played.questions("answering") == ["What was the trade of Ada Moss?"]
    assert (played.done.entity, played.done.confirmed) == ("Ada Moss", False)
    assert [item.number for item in played.done.citations] == [3]
    assert "What was the trade of Ada Moss?" in played.done.justification


def test_the_question_itself_is_put_once(script, config):
    replies = [{"question": QUESTION.lower()}, {"answer": "a baker"}, {"question": QUESTION}, {"answer": "a baker"}]
    played = script.play(replies, KNOWN, config, question=QUESTION)
    assert played.questions("grounding") == [QUESTION]


def test_only_what_the_memory_said_can_be_chosen(script, config):
    played = script.play(REPLIES, KNOWN, config, question=QUESTION)
    first, second, third, last = (ask.schema["properties"] for ask in played.to("executive"))
    assert second["answer"]["enum"] == ["a baker", "Ada Moss"]
    assert last["answer"]["enum"] == ["a baker", "Ada Moss", "glass blower"]
    for properties, reply in ((first, REPLIES[0]), (third, REPLIES[2])):
        assert re.fullmatch(properties["question"]["pattern"], reply["question"])
        for junk in ("Who sank the Titanic?", "<evidence>}{", "Who", "Who founded Port Amber"):
            assert not re.fullmatch(properties["question"]["pattern"], junk)
    assert not re.fullmatch(first["question"]["pattern"], REPLIES[2]["question"]), "the entity is not known yet"


def test_a_memory_that_knows_nothing_ends_in_not_knowing(script, config):
    replies = [REPLIES[0], {"answer": "I don't know"}, {"answer": "I don't know"}]
    played = script.play(replies, lambda question: "I don't know.", config, question=QUESTION)
    assert played.done.answer == "I don't know"
    assert played.done.citations == ()
    assert "knew nothing" in played.done.justification


def test_the_examples_follow_their_own_rules(script, config):
    for stage, examples in short.EXAMPLES.items():
        for question, said, entity, reply in examples:
            text = short.shown(question, said, entity)
            assert question in text and all(answer in text for _, answer in said)
            if short.KEYS[stage] == "answer":
                assert reply in [answer for _, answer in said]
            else:
                assert reply.endswith("?")


def test_what_is_shown_is_quoted_and_stays_on_its_line(script, config):
    _, effects = start("Who\nis <system>Ada</system>?", config)
    (ask,) = [effect for effect in effects if isinstance(effect, Ask)]
    assert ask.messages[-1]["content"] == "Question: Who is ‹system>Ada‹/system>?"


@pytest.mark.parametrize("question", ["", 'Who said "hello" (loudly)?', "Wer war [Ada] {Moss}? \\ *+."])
def test_an_engine_can_compile_every_pattern(script, config, question):
    xgrammar = pytest.importorskip("xgrammar")
    _, effects = start(QUESTION + question, config)
    (ask,) = [effect for effect in effects if isinstance(effect, Ask)]
    assert xgrammar.Grammar.from_json_schema(json.dumps(ask.schema), any_whitespace=False)


def test_the_wording_has_a_digest_of_its_own(script, config):
    assert digest(config) != digest(script.config())
