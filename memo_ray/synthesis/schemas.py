"""JSON schemas of the replies. Every object is closed, so that structured outputs and the parser agree."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

TEXT: dict[str, Any] = {"type": "string"}
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


PAIR = closed(question=TEXT, answer=TEXT)
PAIRS = listed(question=TEXT, answer=TEXT)
SURFACED = listed(question=TEXT, uses=NUMBERS)
QUESTION = closed(question=TEXT)
ANSWER = closed(answer=TEXT)
NAMED = closed(entities={"type": "array", "items": closed(name=TEXT, pairs=NUMBERS)})


def of_kinds(kinds: Iterable[str]) -> dict[str, Any]:
    """Pairs that each say which of `kinds` they are and which of the numbered pairs they use."""
    return listed(kind={"type": "string", "enum": list(kinds)}, question=TEXT, answer=TEXT, uses=NUMBERS)


def at_most(schema: dict[str, Any], items: int) -> dict[str, Any]:
    """The same object with at most `items` in each of its lists: what a reply that was cut is asked for again."""
    properties = {
        name: {**value, "maxItems": items} if value.get("type") == "array" else value
        for name, value in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties}


def at_least_one(schema: dict[str, Any]) -> dict[str, Any]:
    """The same object with something in each of its lists."""
    properties = {
        name: {**value, "minItems": 1} if value.get("type") == "array" else value
        for name, value in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties}


def verdicts(violations: Iterable[str]) -> dict[str, Any]:
    """One verdict for each numbered pair: an empty list of violations means self-contained."""
    kinds = {"type": "array", "items": {"type": "string", "enum": list(violations)}}
    return closed(verdicts={"type": "array", "items": closed(pair={"type": "integer"}, violations=kinds)})
