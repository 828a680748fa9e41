"""Which step lost a wrong answer, told from what was shown or from a real transcript."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.evaluation.losses import lost_at
from memo_ray.evaluation.systems.system import Cost, Query, Said
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.protocol.driver import run_protocol
from tests.unit.evaluation.systems.conftest import Echo

QUERY = Query("q", "two_hop", "Where was the builder of the wall born?", ["Nessock"], ["wall", "builder"])


def said(retrieved: list[str], note: str = "", transcript: tuple[str, ...] = ()) -> Said:
    return Said("q", "Gildwick", Cost(), retrieved, note, list(transcript))


@pytest.mark.parametrize(
    ("retrieved", "note", "step"),
    [
        ([], "", "knowledge"),
        (["wall", "ferry"], "", "retrieval"),
        (["wall", "ferry", "builder"], "", "reading"),
        (["wall", "ferry", "builder"], "7 of 9 passages fit", "reading"),
        (["wall"], "1 of 9 passages fit", "context"),
        (["wall", "builder"], "cut to 40% of its 9,000 characters", "context"),
    ],
)
def test_by_the_evidence_that_was_shown(retrieved: list[str], note: str, step: str) -> None:
    assert lost_at(QUERY, said(retrieved, note)) == step


def test_a_search_that_found_nothing_lost_the_answer() -> None:
    assert lost_at(QUERY, said([]), searches=True) == "retrieval"
    assert lost_at(QUERY, said(["wall", "builder"]), searches=True) == "reading"


def test_evidence_that_is_not_named_tells_nothing() -> None:
    assert lost_at(Query("q", "questions", "Where?", ["Nessock"]), said(["wall"])) == "unknown"


class Executive(Echo):
    """Asks one sub-question where it may, confirms `entity` in Stage 2, and never gives the right answer."""

    def __init__(self, entity: str = "", asks: bool = True, needs_memory: bool = True) -> None:
        super().__init__()
        self.entity, self.asks, self.needs_memory = entity, asks, needs_memory

    async def chat(self, request: ChatRequest) -> ChatReply:
        properties = (request.schema or {}).get("properties", {})
        candidate = {"name": self.entity, "rank": 1, "for": [1], "against": []}
        possible: dict[str, Any] = {
            "answer": "Gildwick",
            "justification": "so it is",
            "evidence": [],
            "findings": [],
            "facts": [],
            "candidates": [candidate] if self.entity else [],
            "confirmed": self.entity,
            "role": "answer",
            "labels": [],
            "entity": self.entity,
            "needs_memory": self.needs_memory,
            "questions": ["Who built the wall?"] if self.asks and "findings" not in properties else [],
            "decision": "exhaust" if "findings" in properties else "answer",
        }
        value = {name: possible[name] for name in properties}
        return ChatReply(json.dumps(value), "stop", 5, 5)


class Memory(Echo):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    async def chat(self, request: ChatRequest) -> ChatReply:
        return ChatReply(self.text, "stop", 5, 5)


def through(executive: Executive, memory: str, **settings: Any) -> str:
    """The step that lost a real question through the protocol."""
    config = ProtocolConfig(**settings)
    outcome = asyncio.run(run_protocol(QUERY.question, executive, Memory(memory), config, schema_enforced=True))
    return lost_at(QUERY, said([], transcript=outcome.transcript))


def test_by_what_the_memory_said() -> None:
    assert through(Executive(), "He was born in Nessock.") == "synthesis"
    assert through(Executive(), "Rolf Anstick built it.") == "identification"
    assert through(Executive("Rolf Anstick"), "Rolf Anstick built it.") == "answering"
    assert through(Executive(asks=False), "Rolf Anstick built it.") == "grounding"


def test_the_baselines_have_no_entity_to_find() -> None:
    assert through(Executive(), "Rolf Anstick built it.", kind="multi_turn") == "answering"
    assert through(Executive(), "Born in Nessock.", kind="single_turn") == "synthesis"
    assert through(Executive(needs_memory=False), "Born in Nessock.", kind="single_turn") == "decision"


def test_a_transcript_of_another_version_tells_nothing() -> None:
    assert lost_at(QUERY, said([], transcript=('{"transcript": 0}',))) == "unknown"
