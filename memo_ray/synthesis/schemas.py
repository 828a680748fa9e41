"""JSON schemas of the replies. Every object is closed, so that structured outputs and the parser agree."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

QUESTION_CHARACTERS, ANSWER_CHARACTERS, NAME_CHARACTERS = 500, 1500, 150
"""Lengths at which an engine ends a string. No good question, answer (of at most 150 words) or name is so long, but a
generator that repeats itself would fill its reply."""
TOKENS_AN_ITEM = 64
"""Room in a reply for an item of its list. Pairs from a story take about 40 tokens, with wide differences."""

TEXT: dict[str, Any] = {"type": "string", "maxLength": ANSWER_CHARACTERS}
ASKED: dict[str, Any] = {"type": "string", "maxLength": QUESTION_CHARACTERS}
NAME: dict[str, Any] = {"type": "string", "maxLength": NAME_CHARACTERS}
NUMBERS: dict[str, Any] = {"type": "array", "items": {"type": "integer"}}


def closed(**properties: dict[str, Any]) -> dict[str, Any]:
    """An object with exactly these properties, all required."""
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }  # fmt: skip


def listed(**properties: dict[str, Any]) -> dict[str, Any]:
    """An object whose only property `pairs` is a list of closed objects with these properties."""
    return closed(pairs={"type": "array", "items": closed(**properties)})


def question(opening: str, words: Iterable[str]) -> dict[str, Any]:
    """A question that opens with `opening` and goes on with `words` only, in any order, to its question mark.

    The generator can write nothing else, so it can misspell no name and bring in none. Commas are allowed after
    every word. No repeat counts: xgrammar cannot compile them inside a JSON string.
    """
    spelled = sorted(
        {escaped(word) for word in words if not re.search(r'["\\]', word)}, key=lambda word: (-len(word), word)
    )
    return closed(question={"type": "string", "pattern": rf"^{escaped(opening)}( ({'|'.join(spelled)}),?)+\?$"})


def escaped(text: str) -> str:
    """`text` for a regular expression that both Python and the engines' grammars read alike."""
    return re.sub(r"([.^$*+?{}\[\]|()])", r"\\\1", text)


def choice(answers: Iterable[str]) -> dict[str, Any]:
    """An answer that is one of `answers`."""
    return closed(answer={"type": "string", "enum": list(answers)})


PAIR = closed(question=ASKED, answer=TEXT)
PAIRS = listed(question=ASKED, answer=TEXT)
SURFACED = listed(question=ASKED, uses=NUMBERS)
QUESTION = closed(question=ASKED)
ANSWER = closed(answer=TEXT)
NAMED = closed(entities={"type": "array", "items": closed(name=NAME, pairs=NUMBERS)})


def of_kinds(kinds: Iterable[str]) -> dict[str, Any]:
    """Pairs that each say which of `kinds` they are and which of the numbered pairs they use."""
    return listed(kind={"type": "string", "enum": list(kinds)}, question=ASKED, answer=TEXT, uses=NUMBERS)


def at_most(schema: dict[str, Any], items: int) -> dict[str, Any]:
    """The same object with at most `items` in each of its lists: what a reply that was cut is asked for again."""
    properties = {
        name: {**value, "maxItems": items} if value.get("type") == "array" else value
        for name, value in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties}


def fitting(schema: dict[str, Any], max_tokens: int, shown: int) -> dict[str, Any]:
    """The same object with no more in its lists than a reply of `max_tokens` has room for, so that it is closed in
    time; a list of numbers has at most one for each of the `shown` pairs, or a few more.
    """
    room = max(1, max_tokens // TOKENS_AN_ITEM)
    properties: dict[str, Any] = {}
    for name, value in schema.get("properties", {}).items():
        if value.get("type") != "array":
            properties[name] = value
        elif value["items"].get("type") == "integer":
            # A power of two, so that there are few schemas and few grammars.
            properties[name] = {**value, "maxItems": 1 << shown.bit_length()} if shown else value
        else:
            items = fitting(value["items"], max_tokens, shown)
            properties[name] = {**value, "maxItems": min(room, value.get("maxItems", room)), "items": items}
    return {**schema, "properties": properties} if properties else schema


def without_lengths(schema: Any) -> Any:
    """The same schema without the lengths of its strings, to read a reply with: one long answer loses itself only."""
    if isinstance(schema, dict):
        return {key: without_lengths(value) for key, value in schema.items() if key != "maxLength"}
    return [without_lengths(value) for value in schema] if isinstance(schema, list) else schema


def at_least_one(schema: dict[str, Any]) -> dict[str, Any]:
    """The same object with something in each of its lists."""
    properties = {
        name: {**value, "minItems": 1} if value.get("type") == "array" else value
        for name, value in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties}


def verdicts(violations: Iterable[str]) -> dict[str, Any]:
    """One verdict for each numbered pair: an empty list of violations means self-contained."""
    names = list(violations)
    kinds = {"type": "array", "items": {"type": "string", "enum": names}, "maxItems": len(names)}
    return closed(verdicts={"type": "array", "items": closed(pair={"type": "integer"}, violations=kinds)})
