"""Schemas that bind what a generator can write."""

from __future__ import annotations

import json

import pytest

from memo_ray.errors import GenerationError
from memo_ray.models.replies import parse_json
from memo_ray.synthesis import schemas

SCHEMA = schemas.question("When did", ["Imre", "Solt", "found", "the", "Solt-Works", "St."])


def reply(question: str) -> str:
    return json.dumps({"question": question})


@pytest.mark.parametrize("question", ["When did Imre Solt found the Solt-Works?", "When did Imre, St. Solt found?"])
def test_a_question_of_the_allowed_words_passes(question: str):
    assert parse_json(reply(question), SCHEMA) == {"question": question}


@pytest.mark.parametrize(
    "question",
    ["When did Emre Solt found the Solt-Works?", "Who found the Solt-Works?", "When did Imre Solt found", "When did?",
     "When did Imre Solt found StX?"],
)  # fmt: skip
def test_other_words_openings_and_ends_do_not(question: str):
    with pytest.raises(GenerationError):
        parse_json(reply(question), SCHEMA)


def test_choices_and_verdicts_are_closed():
    assert parse_json('{"answer":"1902"}', schemas.choice(["1902", "1903"])) == {"answer": "1902"}
    with pytest.raises(GenerationError):
        parse_json('{"answer":"1904"}', schemas.choice(["1902", "1903"]))
    with pytest.raises(GenerationError):
        parse_json('{"verdicts":[{"pair":1,"violations":["boring"]}]}', schemas.verdicts(["vague_time"]))
    with pytest.raises(GenerationError):
        parse_json('{"question":"Q?","answer":"A","id":7}', schemas.PAIR)


def test_engines_can_compile_every_schema():
    """xgrammar, which vLLM uses, takes neither repeat counts nor every escape in a pattern."""
    xgrammar = pytest.importorskip("xgrammar")
    info = xgrammar.TokenizerInfo([chr(code) for code in range(32, 127)], vocab_size=95)
    compiler = xgrammar.GrammarCompiler(info, max_threads=1)
    names = ("PAIR", "PAIRS", "SURFACED", "QUESTION", "ANSWER", "NAMED")
    shaped = [schemas.of_kinds(["a", "b"]), schemas.at_most(schemas.PAIRS, 12), schemas.choice(["a", "b"])]
    shaped += [schemas.fitting(schema, 2000, 60) for schema in (schemas.PAIRS, schemas.NAMED, schemas.SURFACED)]
    for schema in [SCHEMA, *shaped, *(getattr(schemas, name) for name in names)]:
        compiler.compile_json_schema(json.dumps(schema), any_whitespace=False)


def test_a_list_can_be_asked_to_hold_something():
    assert schemas.at_least_one(schemas.PAIRS)["properties"]["pairs"]["minItems"] == 1
    assert schemas.at_least_one(schemas.PAIR) == schemas.PAIR


def test_a_list_has_no_more_items_than_its_reply_has_room_for():
    pairs = schemas.fitting(schemas.at_most(schemas.PAIRS, 128), 2000, 0)["properties"]["pairs"]
    assert pairs["maxItems"] == 2000 // schemas.TOKENS_AN_ITEM == 31
    assert schemas.fitting(schemas.at_most(schemas.PAIRS, 8), 2000, 0)["properties"]["pairs"]["maxItems"] == 8
    named = schemas.fitting(schemas.NAMED, 2000, 60)["properties"]["entities"]
    assert named["maxItems"] == 31 and named["items"]["properties"]["pairs"]["maxItems"] == 64
    assert schemas.fitting(SCHEMA, 2000, 0) == SCHEMA, "a pattern bounds itself"


def test_an_answer_of_any_length_is_read():
    long = json.dumps({"answer": "x" * schemas.ANSWER_CHARACTERS * 2})
    with pytest.raises(GenerationError):
        parse_json(long, schemas.ANSWER)
    assert parse_json(long, schemas.without_lengths(schemas.ANSWER))
