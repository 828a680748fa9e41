"""Answers over cartridges as a pass of Ray Data, with a real tiny model and real adapters."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from memo_ray.config.cartridges import CartridgeTraining
from memo_ray.config.comparison import ComparisonConfig
from memo_ray.config.protocol import ProtocolConfig
from memo_ray.errors import GenerationError
from memo_ray.evaluation.systems.cartridges import NOTE, from_text
from memo_ray.evaluation.systems.opening import Models, open_system
from memo_ray.evaluation.systems.ray_cartridges import pool_of
from memo_ray.evaluation.systems.reading import was_cut
from memo_ray.evaluation.systems.running import Ran, run_system
from memo_ray.evaluation.systems.system import Corpus, Query
from memo_ray.models.cartridge import FACTS, folder_of
from memo_ray.rows import Document
from memo_ray.training.cartridge import train_cartridge

TEXT = "Rolf Anstick built the harbour wall of red granite in 1791."
QUERIES = [
    Query("q1", "one_hop", "Who built the harbour wall?", ["Rolf Anstick"], ["wall"]),
    Query("q2", "one_hop", "When was it built?", ["1791"], ["wall"]),
    Query("q3", "one_hop", "Who opened the school of Nessock?", ["Ida Pask"], ["school"]),
    Query("q4", "questions", "What is the ferry called?", ["Badger"]),
]


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cartridge of the document `wall`, and of no other."""
    root = tmp_path_factory.mktemp("cartridges")
    settings = CartridgeTraining(tokens=8, samples=2)
    train_cartridge(tiny_model, TEXT, [("Who?", "Rolf")], settings, folder_of(root, "wall"))
    return root


def run(tiny_model: Path, adapters: Path, folder: Path, queries: list[Query] = QUERIES) -> Ran:
    reader = {"max_tokens": 4, "temperature": 0.0}
    system: dict[str, Any] = {"kind": "cartridge", "base": str(tiny_model), "adapters": str(adapters)}
    config = ComparisonConfig.model_validate_json(json.dumps({"systems": [system], "reader": reader}))
    unasked: Any = None
    opened = open_system(config.systems[0], config, Models(unasked, None, ProtocolConfig()), "systems.0")
    corpus = Corpus("isles", "d" * 64, [Document("wall", "Wall", TEXT, "", "wall")], [])
    return asyncio.run(run_system(opened, corpus, queries, [0, 1], folder))


def test_every_question_over_the_cache_of_its_evidence(
    ray_cluster: None, tiny_model: Path, adapters: Path, tmp_path: Path
) -> None:
    ran = run(tiny_model, adapters, tmp_path)
    assert not ran.problem and not was_cut(NOTE)
    for seed in (0, 1):
        assert [row.question_id for row in ran.answers[seed]] == ["q1", "q2"]
        assert {row.note for row in ran.answers[seed]} == {NOTE}
        assert all(row.retrieved == ["wall"] and 0 < row.cost.output_tokens <= 4 for row in ran.answers[seed])
        assert list(ran.answers[seed][0].cost.tokens) == [tiny_model.name]
        # One has evidence without an adapter, one has none at all.
        assert [(row.question_id, row.reason) for row in ran.failed[seed]] == [
            ("q3", "no_cartridge"), ("q4", "no_cartridge"),
        ]  # fmt: skip


def test_only_what_is_missing_is_asked_again(
    ray_cluster: None, tiny_model: Path, adapters: Path, tmp_path: Path
) -> None:
    first = run(tiny_model, adapters, tmp_path, QUERIES[:1])
    again = run(tiny_model, adapters, tmp_path, QUERIES[:2])
    # What is measured of an answer, to the microsecond, is that of the first try.
    assert again.answers[0][0] == first.answers[0][0]
    assert [row.question_id for row in again.answers[0]] == ["q1", "q2"]


def test_an_answer_says_that_its_cache_learned_from_text_alone(
    ray_cluster: None, tiny_model: Path, adapters: Path, tmp_path: Path
) -> None:
    made = tmp_path / "adapters"
    shutil.copytree(folder_of(adapters, "wall"), folder_of(made, "wall"))
    (made / FACTS).write_text(json.dumps({"wall": {"seconds": 2.0, "from_text": True}}))
    ran = run(tiny_model, made, tmp_path / "work", QUERIES[:1])
    assert ran.answers[0][0].note == f"{NOTE}; 1 of 1 learned from its text alone, for want of reflections"
    assert ran.prepared is not None and ran.prepared.device_seconds == 2.0
    corpus = Corpus("isles", "d" * 64, [Document(name, name, TEXT, "", name) for name in ("wall", "school")], [])
    assert from_text(str(made), corpus) == 1 and from_text(str(adapters), corpus) == 0


def test_an_adapter_that_cannot_be_used_fails_its_questions_alone(
    ray_cluster: None, tiny_model: Path, adapters: Path, tmp_path: Path
) -> None:
    broken = folder_of(adapters, "school")
    broken.mkdir()
    (broken / "adapter_config.json").write_text("{}")
    ran = run(tiny_model, adapters, tmp_path)
    assert [row.question_id for row in ran.answers[0]] == ["q1", "q2"]
    (failed,) = [row for row in ran.failed[0] if row.question_id == "q3"]
    assert failed.reason == "generation_error" and "cannot be used" in failed.detail


def test_the_pool_takes_the_gpus_that_are_free() -> None:
    assert pool_of(0, 0) == (1, {"num_cpus": 0})
    assert pool_of(8, 5) == (3, {"num_cpus": 1, "num_gpus": 1})
    with pytest.raises(GenerationError, match="all of the cluster's 2 GPUs are taken"):
        pool_of(2, 1.5)
