"""Every run of every experiment puts five questions to every system that its table names, and fills every row.

Benchmarks, retrievers, protocols, scoring and tables are the real ones. The language models are scripts, and what a
run would train is not: tests/e2e has the whole loop.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from memo_ray.artifacts.store import Store
from memo_ray.config.cartridges import CartridgeTraining
from memo_ray.config.comparison import ComparisonConfig
from memo_ray.config.corpus import CorpusConfig
from memo_ray.evaluation.benchmarks.corpus import build_corpus, open_benchmark
from memo_ray.evaluation.comparison import Compared, compare, corpora_of
from memo_ray.evaluation.experiments.experiment import gather, load_experiment, names
from memo_ray.evaluation.report.side_by_side import write_comparison
from memo_ray.evaluation.systems.opening import Models, name_of
from memo_ray.evaluation.systems.system import Corpus, Query
from memo_ray.models.cartridge import folder_of
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.progress import unheard
from memo_ray.training.cartridge import train_cartridge
from tests.unit.evaluation.endpoint import endpoint
from tests.unit.evaluation.experiments.data import ANSWER, CANARY, write_benchmarks
from tests.unit.evaluation.systems.package import stand_in

pytestmark = pytest.mark.slow

QUESTIONS = 5
LAPTOP = {"side_by_side", "growth_laptop"}
"""Experiments without a judge, with models of this machine: nothing there to replace."""
RIGHT = json.dumps({"reason": "it is the reference", "score": 1})


class Scripted:
    """A model that says the least that a schema takes, and knows one answer."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def chat(self, request: ChatRequest) -> ChatReply:
        return ChatReply(json.dumps(least(request.schema)) if request.schema else ANSWER, "stop", 20, 5)

    def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        raise NotImplementedError

    async def close(self) -> None:
        return None


def least(schema: dict[str, Any]) -> Any:
    """A value that follows the schema."""
    if "enum" in schema:
        return schema["enum"][-1]
    match schema["type"]:
        case "object":
            return {name: least(part) for name, part in schema["properties"].items()}
        case "array":
            return [least(schema["items"]) for _ in range(max(1, schema.get("minItems", 0)))]
        case "integer":
            return schema.get("minimum", 1)
        case "boolean":
            return True
        case _:
            return ANSWER


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with `data/`, a stand-in for HippoRAG2's package, and one cartridge that serves for every document."""
    folder = tmp_path_factory.mktemp("experiments")
    write_benchmarks(folder)
    stand_in(folder)
    settings = CartridgeTraining(tokens=8, samples=2)
    train_cartridge(tiny_model, "The wall is red.", [("What?", ANSWER)], settings, folder / "cartridge")
    return folder


@cache
def corpora(settings: str, place: Path) -> tuple[tuple[Corpus, list[Query]], ...]:
    """The corpora of a run's config, each made once; `settings`: as a JSON list."""
    found = {}
    for number, data in enumerate(json.loads(settings)):
        corpus = CorpusConfig.model_validate_json(json.dumps(data))
        store = Store(place / "artifacts" / str(abs(hash(settings))) / str(number))
        with store.attempt(f"corpus-{corpus.name}", "corpus", "0" * 64, {}, {}) as attempt:
            build_corpus(corpus, open_benchmark(corpus), attempt)
        artefact = store.find(f"corpus-{corpus.name}", "0" * 64)
        assert artefact is not None
        found[corpus.name] = artefact
    made = corpora_of(found, QUESTIONS)
    for _, queries in made:
        for name in {name for query in queries for name in query.evidence}:
            shutil.copytree(place / "cartridge", folder_of(place / "cartridges", name), dirs_exist_ok=True)
    return tuple(made)


def small(comparison: ComparisonConfig, judge: str, tiny_model: Path, place: Path) -> ComparisonConfig:
    """The comparison with models that are here in the place of its endpoints."""
    data = comparison.model_dump(mode="json")
    data["judge"]["model"] |= {"base_url": judge, "api_key_env": ""}
    data["reader"]["max_tokens"] = 4
    for system in data["systems"]:
        if "embedding" in system:
            system["embedding"] = {"engine": "transformers", "model": str(tiny_model)}
        if system["kind"] == "hipporag":
            system |= {"python": str(place / "python"), "llm": None}
        if system["kind"] == "cartridge":
            system |= {"base": str(tiny_model), "adapters": str(place / "cartridges")}
    return ComparisonConfig.model_validate_json(json.dumps(data))


@pytest.mark.parametrize("name", [name for name in names() if name not in LAPTOP])
def test_every_row_of_the_table_is_filled(
    name: str, place: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_cluster: None
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("BROWSECOMP_PLUS_CANARY", CANARY)
    experiment = load_experiment(name, (f"root={tmp_path}",))
    expected, known = [], dict[tuple[str, ...], Compared]()
    with endpoint(lambda prompt: RIGHT) as judge:
        for run in experiment.runs:
            assert run.config.evaluation.comparison is not None
            config = small(run.config.evaluation.comparison, judge, tiny_model, place)
            named = json.dumps([row.model_dump(mode="json") for row in run.config.corpora])
            asked = corpora(named, place)
            models = Models(Scripted("executive"), Scripted("memory"), run.config.serving.protocol)
            alike = named, config.model_dump_json(), models.protocol.model_dump_json()  # but for what is trained
            if alike not in known:
                known[alike] = compare(config, models, asked, tmp_path / "work" / run.config.name, unheard)
            compared = known[alike]
            assert compared.table is not None and compared.rejects == []
            report = tmp_path / run.config.name / "report"
            write_comparison(report, run.config.name, compared.table, compared.answers, [], compared.facts)
            expected += [
                (*run.labels.values(), name_of(system), corpus, questions)
                for system in config.systems
                for corpus, questions in (
                    [(config.together, QUESTIONS * len(asked))]
                    if config.together
                    else [(corpus.name, QUESTIONS) for corpus, _ in asked]
                )
            ]
    rows = list(gather(experiment))
    axes = [*experiment.runs[0].labels, "system", "corpus", "questions"]
    assert [tuple(row[axis] for axis in axes) for row in rows] == expected
    for row in rows:
        assert row["failed"] == 0 and row["unjudged"] == 0
        assert 0 <= row["accuracy_mean"] <= 1
