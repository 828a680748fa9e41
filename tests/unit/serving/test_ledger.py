"""The ledger's deployment class on its own, over real tables, and what an answer shows of it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from memo_ray.artifacts.tables import write_rows
from memo_ray.citations.files import LedgerFiles
from memo_ray.config.protocol import HybridSettings, ProtocolConfig
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.protocol.driver import Outcome, run_protocol
from memo_ray.protocol.state import Passage
from memo_ray.rows import Chunk, LedgerEntry, Reflection
from memo_ray.serving.answers import answer_body
from memo_ray.serving.ledger import LedgerDeployment, support_of

WHO = "Who founded Port Amber?"
TEXT = "Port Amber lies on the coast. It was founded by Ilse Verran."


@pytest.fixture
def files(tmp_path: Path) -> LedgerFiles:
    reflection = Reflection("r1", WHO, "Ilse Verran", "direct", "train")
    write_rows(tmp_path / "reflections.parquet", [reflection], Reflection)
    entry = LedgerEntry("r1", "direct", ["c1"], ["d1"], "", [], "p", "m", 0)
    write_rows(tmp_path / "ledger.parquet", [entry], LedgerEntry)
    chunk = Chunk("c1", "d1", 0, "Amber", TEXT, 12, 100, 100 + len(TEXT), "")
    write_rows(tmp_path / "chunks.parquet", [chunk], Chunk)
    return LedgerFiles(**{name: str(tmp_path / f"{name}.parquet") for name in ("reflections", "ledger", "chunks")})


def test_support_has_documents_and_spans(files: LedgerFiles) -> None:
    known, unknown = LedgerDeployment([files], None).support([(WHO, "Ilse Verran"), (WHO, "Odo Stell")])
    (place,) = known["reflections"][0]["places"]
    assert TEXT[place["start"] - 100 : place["end"] - 100] == "It was founded by Ilse Verran."
    assert (place["document_id"], known["supported"]) == ("d1", True)
    assert (unknown["supported"], unknown["note"]) == (False, "not supported by the ledger")
    assert json.loads(json.dumps(known)) == known | {"reflections": [{**known["reflections"][0], "places": [place]}]}


def test_passages_come_only_where_they_are_set(files: LedgerFiles) -> None:
    (found,) = asyncio.run(LedgerDeployment([files], HybridSettings()).retrieve(WHO, 3))
    assert Passage(**found).text == TEXT
    with pytest.raises(GenerationError, match="hybrid"):
        asyncio.run(LedgerDeployment([files], None).retrieve(WHO, 3))


def test_a_missing_table_is_named(files: LedgerFiles, tmp_path: Path) -> None:
    (tmp_path / "ledger.parquet").unlink()
    with pytest.raises(ConfigError, match=r"ledger\.parquet: cannot be read"):
        LedgerDeployment([files], None)


class Says:
    """A chat model with one answer for each kind of request."""

    name = "says"

    async def chat(self, request: ChatRequest) -> ChatReply:
        stage = request.request_id.split("/")[1].split("-")[0]
        answers: dict[str, Any] = {
            "decision": {"needs_memory": True, "questions": [WHO]},
            "synthesis": {"justification": "It says so.", "evidence": [1], "answer": "Ilse Verran"},
        }
        return ChatReply(json.dumps(answers[stage]) if request.schema else "Ilse Verran", "stop", 1, 1)


def outcome_of() -> Outcome:
    model: Any = Says()
    return asyncio.run(run_protocol("Who founded it?", model, model, ProtocolConfig(kind="single_turn")))


def test_every_citation_of_an_answer_says_what_supports_it(files: LedgerFiles) -> None:
    outcome = outcome_of()
    evidence = outcome.done.evidence
    found = LedgerDeployment([files], None).support([(item.question, item.answer) for item in evidence])
    body = answer_body("a", "q", outcome, {item.number: row for item, row in zip(evidence, found, strict=True)})
    (cited,) = body["citations"]
    assert cited["support"]["reflections"][0]["reflection_id"] == "r1"
    assert body["support"] == [{"number": 1, "supported": True, "score": 1.0}]
    assert [row["stage"] for row in body["stages"]] == ["decision", "synthesis"]


def test_without_a_ledger_an_answer_still_comes() -> None:
    outcome = outcome_of()
    assert asyncio.run(support_of({}, outcome.done.evidence)) == {}
    body = answer_body("a", "q", outcome)
    assert (body["citations"][0]["support"], body["support"]) == (None, [])
