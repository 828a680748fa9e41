"""The deployment that answers questions, over stubs of handles: one memory, several, and routing between them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memo_ray.artifacts.tables import write_rows
from memo_ray.citations.files import LedgerFiles
from memo_ray.config.protocol import ProtocolConfig, Routing
from memo_ray.errors import GenerationError
from memo_ray.rows import Chunk, LedgerEntry, Reflection
from memo_ray.serving import questions
from memo_ray.serving.handle_model import ModelOutage
from memo_ray.serving.ledger import LedgerDeployment
from memo_ray.serving.questions import ProtocolDeployment
from memo_ray.serving.roster import Target
from tests.browser.scripted_gateway import Several

pytestmark = pytest.mark.anyio

SAID = {"amber": ("Who founded Port Amber?", "Ilse Verran"), "skarn": ("Who built the Skarn lighthouse?", "Odo Stell")}


class Method:
    """A handle's method; `remote` gives what may be awaited, as a DeploymentResponse may."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    async def remote(self, *arguments: Any) -> Any:
        return self._call(*arguments)


class Handle:
    """A deployment's handle: `chat` and `chats` say one thing, or what a single-turn executive has to say."""

    def __init__(self, says: str = "", ledger: LedgerDeployment | None = None) -> None:
        self.asked: list[dict[str, Any]] = []
        self.says = says
        self.chat = Method(self.reply)
        if ledger:
            self.support = Method(ledger.support)

    def options(self, method_name: str = "", **_: Any) -> Any:
        return Several(self.chat) if method_name == "chats" else self

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        if self.says == "down":
            raise GenerationError("is down")
        stage = request["request_id"].split("/")[1].split("-")[0]
        script = {
            "decision": {"needs_memory": True, "questions": [question for question, _ in SAID.values()]},
            "synthesis": {"justification": "They say so.", "evidence": [1, 2], "answer": "both"},
        }
        text = self.says or json.dumps(script[stage])
        return {"text": text, "finish_reason": "stop", "input_tokens": 1, "output_tokens": 1, "cached_tokens": 0}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def tables(folder: Path, name: str) -> LedgerFiles:
    folder.mkdir()
    question, answer = SAID[name]
    write_rows(folder / "reflections.parquet", [Reflection(name, question, answer, "direct", "train")], Reflection)
    entry = LedgerEntry(name, "direct", ["c"], [f"d-{name}"], "", [], "p", "m", 0)
    write_rows(folder / "ledger.parquet", [entry], LedgerEntry)
    text = f"It was {answer}."
    write_rows(folder / "chunks.parquet", [Chunk("c", f"d-{name}", 0, "T", text, 4, 0, len(text), "")], Chunk)
    return LedgerFiles(**{t: str(folder / f"{t}.parquet") for t in ("reflections", "ledger", "chunks")})


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Handle], tuple[Target, ...]]:
    """Two memories, of Port Amber and of Skarn, each saying one thing, with a ledger each."""
    handles: dict[str, Handle] = {}
    targets = []
    for version, (name, (_, answer)) in enumerate(SAID.items(), 1):
        files = tables(tmp_path / name, name)
        handles[f"app-{name}"] = Handle(answer)
        handles[f"ledger-{name}"] = Handle(ledger=LedgerDeployment([files], None))
        adapter = "/adapters/skarn" if name == "skarn" else ""
        targets.append(Target(name, version, f"app-{name}", "", adapter, f"ledger-{name}", (files,)))
    monkeypatch.setattr(questions, "handle_of", lambda _, application: handles[application])
    return handles, tuple(targets)


def deployment(routing: Routing | None = None) -> ProtocolDeployment:
    executive: Any = Handle()
    config = ProtocolConfig(kind="single_turn")
    return ProtocolDeployment(executive, None, config, schema_enforced=True, routing=routing)


async def test_one_version_is_asked_with_its_adapter_and_cited_from_its_ledger(served: Any) -> None:
    handles, (_, skarn) = served
    answer = await deployment().answer("a", "Who was it?", (skarn,))
    assert (answer["answer"], answer["memories"]) == ("both", ["skarn@2"])
    assert {request["adapter"] for request in handles["app-skarn"].asked} == {"/adapters/skarn"}
    assert handles["app-amber"].asked == []
    assert [row["supported"] for row in answer["support"]] == [False, True]


@pytest.mark.parametrize(("routing", "asked"), [("likeliest", 1), ("all", 2)])
async def test_a_sub_question_is_routed_and_cited_from_who_answered(served: Any, routing: Routing, asked: int) -> None:
    handles, targets = served
    answer = await deployment(routing).answer("a", "Who was it?", targets)
    assert answer["memories"] == ["amber@1", "skarn@2"]
    assert [(row["memory"], row["answer"]) for row in answer["citations"]] == [
        ("amber", "Ilse Verran"),
        ("skarn", "Odo Stell"),
    ]
    assert [row["support"]["reflections"][0]["reflection_id"] for row in answer["citations"]] == ["amber", "skarn"]
    assert [len(handles[f"app-{name}"].asked) for name in SAID] == [asked, asked]


async def test_of_several_memories_one_may_be_down_but_not_all(served: Any) -> None:
    handles, targets = served
    handles["app-amber"].says = "down"
    answer = await deployment("all").answer("a", "Who was it?", targets)
    assert {row["memory"] for row in answer["citations"]} == {"skarn"}
    handles["app-skarn"].says = "down"
    with pytest.raises(ModelOutage, match="the memory amber@1 does not answer"):
        await deployment("all").answer("a", "Who was it?", targets)
    with pytest.raises(ModelOutage, match="the memory skarn@2 does not answer"):
        await deployment().answer("a", "Who was it?", targets[1:])


async def test_stage_events_come_before_the_answer(served: Any) -> None:
    _, targets = served
    *events, last = [item async for item in deployment("likeliest").events("a", "Who was it?", targets)]
    assert events and all("event" in item for item in events)
    assert last["answer"]["memories"] == ["amber@1", "skarn@2"]
