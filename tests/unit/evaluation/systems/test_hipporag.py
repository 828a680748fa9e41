from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memo_ray.config.comparison import EmbeddingEndpoint, Encoder, HippoRag
from memo_ray.config.models import OpenAIModel
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.evaluation.systems.hipporag import ENVIRONMENT, HippoRagIndex
from memo_ray.evaluation.systems.system import Corpus, Cost, Failed
from memo_ray.models.chat import ChatReply, ChatRequest
from tests.unit.evaluation.systems.conftest import QUERIES, Echo
from tests.unit.evaluation.systems.package import stand_in


class Extractor(Echo):
    """Replies with a list of one fact, or with what a document would have the package do."""

    def __init__(self, says: str = "['a fact']") -> None:
        super().__init__(name="extractor")
        self.says = says

    async def chat(self, request: ChatRequest) -> ChatReply:
        await super().chat(request)
        return ChatReply(self.says, "stop", 10, 3)


@pytest.fixture
def python(tmp_path: Path) -> str:
    """An interpreter with the package's stand-in."""
    return stand_in(tmp_path)


def config(python: str | None, encoder: Path, timeout_s: float = 60) -> HippoRag:
    embedding = Encoder(engine="transformers", model=str(encoder))
    return HippoRag(kind="hipporag", top_k=2, python=python, timeout_s=timeout_s, embedding=embedding)


def run(settings: HippoRag, llm: Echo, corpus: Corpus, folder: Path, question: str | None = None) -> tuple[Cost, Any]:
    """Index the corpus, then retrieve for the conftest's questions, or for one."""

    async def both() -> tuple[Cost, Any]:
        index = HippoRagIndex(settings, llm, "systems.0")
        try:
            cost = await index.prepare(corpus, folder)
            queries = QUERIES if question is None else [replace(QUERIES[0], question=question), QUERIES[1]]
            return cost, await index.find(queries)
        finally:
            await index.close()

    return asyncio.run(both())


def test_indexes_and_retrieves_in_its_own_process_and_asks_models_here(
    python: str, corpus: Corpus, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "secret")
    llm = Extractor()
    cost, found = run(config(python, tiny_model), llm, corpus, tmp_path)
    assert [row.passages[0].document_id for row in found] == ["wall", "school", "ferry"]
    assert all(len(row.passages) == 2 for row in found)
    assert len(llm.requests) == cost.calls == 4 and cost.tokens["extractor"] == (40, 12)
    assert {request.temperature for request in llm.requests} == {0.0}
    assert all(row.tokens[str(tiny_model)][0] > 0 for row in found)

    again, _ = run(config(python, tiny_model), llm, corpus, tmp_path)
    assert len(llm.requests) == 4  # the package's own cache
    assert again.tokens["extractor"] == cost.tokens["extractor"]


def test_what_a_model_writes_is_not_executed(python: str, corpus: Corpus, tiny_model: Path, tmp_path: Path) -> None:
    llm = Extractor(f"[open({str(tmp_path / 'harm')!r}, 'w').name]")
    run(config(python, tiny_model), llm, corpus, tmp_path)
    assert not (tmp_path / "harm").exists()


def test_an_outage_is_no_passage_without_facts(python: str, corpus: Corpus, tiny_model: Path, tmp_path: Path) -> None:
    llm = Extractor()
    llm.fails = {"salt works": "error"}
    with pytest.raises(GenerationError, match="HippoRAG2: RuntimeError: 1 requests failed: endpoint x: answered"):
        run(config(python, tiny_model), llm, corpus, tmp_path)
    assert not list(tmp_path.rglob("openie.json"))
    llm.fails = {}
    run(config(python, tiny_model), llm, corpus, tmp_path)
    assert len(llm.requests) == 5  # what was answered is not asked again


def test_one_question_that_fails_there_fails_alone(
    python: str, corpus: Corpus, tiny_model: Path, tmp_path: Path
) -> None:
    _, (failed, found) = run(config(python, tiny_model), Extractor(), corpus, tmp_path, "boom")
    assert failed == Failed("q1", "retrieval_error", "HippoRAG2: ValueError: no facts")
    assert found.passages[0].document_id == "school"
    with pytest.raises(GenerationError, match="HippoRAG2: its interpreter ended"):
        run(config(python, tiny_model), Extractor(), corpus, tmp_path, "die")


def test_the_packages_assertions_are_off(python: str, corpus: Corpus, tiny_model: Path, tmp_path: Path) -> None:
    _, (found, _) = run(config(python, tiny_model), Extractor(), corpus, tmp_path, "unweighted wall")
    assert found.passages[0].document_id == "wall"


def test_a_model_that_stalls_is_given_up(python: str, corpus: Corpus, tiny_model: Path, tmp_path: Path) -> None:
    llm = Extractor()
    llm.fails = {"salt works": "stall"}
    with pytest.raises(GenerationError, match="HippoRAG2: no answer within 3 s"):
        run(config(python, tiny_model, timeout_s=3), llm, corpus, tmp_path)


def test_an_interpreter_without_the_package_or_none_at_all(
    corpus: Corpus, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(GenerationError, match="No module named 'hipporag'"):
        run(config(sys.executable, tiny_model), Echo(), corpus, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "elsewhere" / ".venv"))
    for python in ("/nowhere", None):
        with pytest.raises(ConfigError, match=r"systems\.0\.python: .*/.*: is no interpreter; `make hipporag`"):
            HippoRagIndex(config(python, tiny_model), Echo(), "systems.0")


def test_a_key_that_is_not_set(python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    named = HippoRag(
        kind="hipporag", python=python,
        llm=OpenAIModel(engine="openai", base_url="http://h/v1", model="m"),
        embedding=EmbeddingEndpoint(engine="openai", base_url="http://h/v1", model="e", api_key_env="A_KEY"),
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"s\.embedding\.api_key_env: the environment variable A_KEY is not set"):
        HippoRagIndex(named, Echo(), "s")


@pytest.mark.skipif(
    not os.access(Path(sys.prefix).parent / ENVIRONMENT, os.X_OK) and not os.access(ENVIRONMENT, os.X_OK),
    reason="the package's environment is not there: make hipporag",
)
def test_the_package_itself(corpus: Corpus, tiny_model: Path, tmp_path: Path) -> None:
    """The authors' code with real embeddings: a model that extracts from the passages that it is shown."""

    class Reader(Echo):
        async def chat(self, request: ChatRequest) -> ChatReply:
            self.requests.append(request)
            shown = request.messages[-1]["content"]
            if "fact_before_filter" in shown:
                fact = shown.partition("[[ ## fact_before_filter ## ]]")[2].strip().splitlines()[0]
                text = f"[[ ## fact_after_filter ## ]]\n{fact}\n\n[[ ## completed ## ]]"
            elif "named_entities" in shown:
                # Two facts, of which the lesser one's score is scaled to 0: no phrase of it has a weight.
                facts = {"Anstick": ["Rolf Anstick", "built", "harbour wall"], "Pask": ["Ida Pask", "opened", "school"]}
                text = json.dumps({"triples": [fact for name, fact in facts.items() if name in shown]})
            else:
                text = '{"named_entities": ["Rolf Anstick", "harbour wall"]}' if "Anstick" in shown else "{}"
            return ChatReply(text, "stop", len(shown), 5)

    llm = Reader(name="reader")
    cost, found = run(config(None, tiny_model, timeout_s=300), llm, corpus, tmp_path)
    assert cost.calls == 8 and cost.tokens["reader"][1] == 40  # entities and triples of four passages
    assert found[0].passages[0].document_id == "wall"  # by its fact: the embedding model is a random one
    assert [row.calls for row in found] == [1, 1, 1]
    assert list(tmp_path.rglob("graph.pickle"))
