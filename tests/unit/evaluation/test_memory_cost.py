"""What a memory cost before its first question, from its artefacts' records."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from memo_ray.config.comparison import Prices
from memo_ray.config.models import OpenAIModel, VllmModel
from memo_ray.evaluation.cost import spent
from memo_ray.evaluation.memory_cost import memory_costs

SYNTHESIS = {"seconds": 3600.0, "gpu_seconds": 14400.0, "prompts": 7.0, "input_tokens": 1e6, "output_tokens": 5e5}
TRAINING = {"seconds": 1800.0, "gpu_seconds": 3600.0, "trained_tokens": 2e6}


def results(training: dict[str, float]) -> Any:
    made = {"synthesis": {"law": SYNTHESIS}, "training": {"law": training}}
    return SimpleNamespace(
        **{
            stage: {name: SimpleNamespace(record=SimpleNamespace(cost=cost)) for name, cost in rows.items()}
            for stage, rows in made.items()
        }
    )


def test_an_own_generator_costs_its_gpus_time_and_an_endpoint_its_tokens() -> None:
    own, paid = VllmModel(engine="vllm", model="g"), OpenAIModel(engine="openai", base_url="http://h/v1", model="g")
    (cost,) = memory_costs(own, results(TRAINING)).values()
    assert (cost.seconds, cost.calls, cost.tokens) == (
        5400.0,
        7,
        {"g": (1_000_000, 500_000), "trained": (2_000_000, 0)},
    )
    prices = Prices.model_validate({"gpu_hour": 2.0})
    found = spent(cost, [], prices)
    assert (found.index_seconds, found.index_tokens, found.index_money) == (5400.0, 3_500_000, pytest.approx(10.0))
    prices = Prices.model_validate({"gpu_hour": 2.0, "models": {"g": {"input": 1.0, "output": 4.0}}})
    (cost,) = memory_costs(paid, results(TRAINING)).values()
    assert spent(cost, [], prices).index_money == pytest.approx(3.0 + 2.0)  # no GPU waited for the endpoint


def test_without_a_gpu_the_walls_time_counts() -> None:
    (cost,) = memory_costs(VllmModel(engine="vllm"), results(TRAINING | {"gpu_seconds": 0.0})).values()
    assert cost.device_seconds == 14400.0 + 1800.0
