"""Asking alone on a real engine: weights are swapped in place, and a refused prompt is neither right nor wrong."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from memo_ray.config.models import VllmModel
from memo_ray.evaluation.asked import Asked
from memo_ray.evaluation.ray_evaluation import ask_alone
from memo_ray.models.ray_engine import Engine

# In bfloat16 this small model's greedy answers hang on rounding, which differs with the batch.
ENGINE = VllmModel(
    engine="vllm", dtype="float32", max_model_len=256, max_num_seqs=8, kv_cache_gb=0.25, enforce_eager=True
)
CAPITAL = Asked("q1", "one_hop", "What is the capital of France?", ["Paris"])
SUM = Asked("q2", "one_hop", "What is 2 + 2?", ["4"])
TOO_LONG = Asked("q3", "two_hop", "Which harbour is older? " * 80, ["Nessock"])
QUESTIONS = [CAPITAL, TOO_LONG, SUM]


@pytest.fixture(scope="module")
def scrambled(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model with the rows of its embedding in another order: it can only talk nonsense."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("scrambled") / "model"
    shutil.copytree(embedded_model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"].roll(1000, 0).contiguous()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_ask_alone(ray_cluster: None, embedded_model: Path, scrambled: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    systems = {"base": embedded_model, "scrambled": scrambled, "base again": embedded_model}
    with Engine.start(ENGINE, embedded_model) as engine:
        asking = ask_alone(engine, systems, QUESTIONS, 24, lambda *step: seen.append(step), loaded=embedded_model)

    answers = {(row.system, row.question_id): row for row in asking.answers}
    assert list(answers) == [(system, asked.question_id) for system in systems for asked in (CAPITAL, SUM)]
    first = answers["base", "q1"]
    assert first.recalled
    assert "Paris" in first.answer
    assert not answers["scrambled", "q1"].recalled
    assert [answers["base again", id].answer for id in ("q1", "q2")] == [
        answers["base", id].answer for id in ("q1", "q2")
    ]
    assert first.input_tokens > 5
    assert 0 < first.output_tokens <= 24
    assert first.seconds > 0

    assert [(row.row_id, row.step, row.reason) for row in asking.rejects] == [
        ("q3", f"{system}/two_hop", "generation_error") for system in systems
    ]
    assert "the model allows 256" in asking.rejects[0].detail
    assert "Traceback" not in asking.rejects[0].detail
    assert seen == [(system, 3, 3) for system in systems]
