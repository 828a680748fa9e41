from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memo_ray.config.comparison import ComparisonConfig
from memo_ray.config.protocol import ProtocolConfig
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.evaluation.systems.opening import Models, open_system
from memo_ray.evaluation.systems.system import Corpus, Cost, Said
from memo_ray.models.cartridge import FACTS, folder_of
from tests.unit.evaluation.systems.conftest import QUERIES, Ask, Echo


def opened(models: Models, **system: Any) -> Any:
    reader = {"max_tokens": 4, "temperature": 0.0}
    config = ComparisonConfig.model_validate_json(json.dumps({"systems": [system], "reader": reader}))
    return open_system(config.systems[0], config, models, "systems.0")


@pytest.fixture
def models() -> Models:
    return Models(Echo(name="executive"), Echo(name="memory"), ProtocolConfig())


@pytest.mark.parametrize("kind", ["no_context", "memory_alone", "perfect_retrieval", "in_context", "bm25", "memo"])
def test_every_kind_opens_under_its_name(models: Models, kind: str) -> None:
    assert opened(models, kind=kind).name == kind
    assert opened(models, kind=kind, name="mine").name == "mine"


def test_the_memory_alone_is_asked_and_not_the_executive(models: Models, ask: Ask) -> None:
    found = ask(opened(models, kind="memory_alone"), QUERIES[:1])["q1"]
    assert isinstance(found, Said) and list(found.cost.tokens) == ["memory"]


@pytest.mark.parametrize("kind", ["memory_alone", "memo"])
def test_a_run_without_a_memory(models: Models, kind: str) -> None:
    with pytest.raises(ConfigError, match=r"systems\.0.*: the run has no memory"):
        opened(replace(models, memory=None), kind=kind)


def test_an_encoder_that_is_not_there(models: Models) -> None:
    embedding = {"engine": "transformers", "model": "./nowhere"}
    with pytest.raises(ConfigError, match=r"systems\.0\.embedding\.model: \./nowhere: no such folder"):
        opened(models, kind="dense", embedding=embedding)


def test_adapters_of_other_documents(models: Models, ask: Ask, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, GenerationError), match="has no adapter of a document of corpus isles"):
        ask(opened(models, kind="cartridge", base=str(tiny_model), adapters=str(tmp_path)))


def prepared(system: Any, corpus: Corpus, folder: Path) -> Cost:
    return asyncio.run(system.prepare(corpus, folder))


def test_what_a_memory_and_a_cartridge_cost_before_the_first_question(
    models: Models, corpus: Corpus, tiny_model: Path, tmp_path: Path
) -> None:
    made = Cost(90.0, 3, {"generator": (10, 5)}, 90.0)
    models = replace(models, made={"isles": made, "other": Cost(1.0)})
    for kind in ("memo", "memory_alone"):
        assert prepared(opened(models, kind=kind), corpus, tmp_path) == made
    endpoint = {"engine": "openai", "base_url": "http://h/v1", "model": "m"}
    assert prepared(opened(models, kind="memo", memory=endpoint), corpus, tmp_path) == Cost()  # whose, is not known
    for name in ("wall", "ferry"):
        folder_of(tmp_path, name).mkdir()
    (tmp_path / FACTS).write_text(
        json.dumps({"wall": {"seconds": 2.0}, "ferry": {"seconds": 3.0}, "x": {"seconds": 9}})
    )
    system = opened(models, kind="cartridge", base=str(tiny_model), adapters=str(tmp_path))
    assert prepared(system, corpus, tmp_path) == Cost(5.0, device_seconds=5.0)
