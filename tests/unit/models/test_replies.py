"""Strict JSON: what follows the schema passes, everything else is named."""

from __future__ import annotations

import pytest

from memo_ray.errors import GenerationError
from memo_ray.models.replies import parse_json

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}},
    "required": ["answer"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": "yes"}',
        '  {"answer": "yes"}\n',
        '```json\n{"answer": "yes"}\n```',
        '<think>{"answer": "no"} or not\nwait</think>\n{"answer": "yes"}',
    ],
)
def test_good_replies(text: str) -> None:
    assert parse_json(text, SCHEMA) == {"answer": "yes"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("<think>only thought</think>", "empty"),
        ('{"answer": "yes"', "not valid JSON"),
        ('Sure! {"answer": "yes"}', "not valid JSON"),
        ('{"answer": 3}', "schema at answer"),
        ('{"reply": "yes"}', "schema at the top level"),
        ('{"answer": "yes"} {"answer": "no"}', "not valid JSON"),
    ],
)
def test_bad_replies_say_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(GenerationError, match=reason):
        parse_json(text, SCHEMA)
