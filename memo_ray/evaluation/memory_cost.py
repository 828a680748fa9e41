"""What a memory has cost before its first question, for the side-by-side table: synthesis and training of a corpus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from memo_ray.config.models import ModelConfig, OpenAIModel
from memo_ray.evaluation.systems.system import Cost, added

if TYPE_CHECKING:
    from memo_ray.pipeline import Results

TRAINED = "trained"
"""Stands among the models' names for the tokens of training, those of every epoch."""


def memory_costs(generator: ModelConfig | None, results: Results) -> dict[str, Cost]:
    """By corpus, as the records of the two artefacts say; a merge is shared by all corpora and counts for none."""
    costs = {}
    for corpus, training in results.training.items():
        parts = [trained(training.record.cost)]
        if corpus in results.synthesis:
            parts.insert(0, synthesised(results.synthesis[corpus].record.cost, generator))
        costs[corpus] = total(parts)
    return costs


def synthesised(cost: Mapping[str, float], generator: ModelConfig | None) -> Cost:
    """One synthesis; an endpoint that is paid by its tokens takes none of our devices' time."""
    seconds = cost.get("seconds", 0.0)
    name = generator.model if generator else "imported"
    tokens = {name: (int(cost.get("input_tokens", 0)), int(cost.get("output_tokens", 0)))}
    ours = 0.0 if isinstance(generator, OpenAIModel) else device_seconds(cost)
    return Cost(seconds, int(cost.get("prompts", 0)), tokens, ours)


def trained(cost: Mapping[str, float]) -> Cost:
    """One training."""
    return Cost(cost.get("seconds", 0.0), 0, {TRAINED: (int(cost.get("trained_tokens", 0)), 0)}, device_seconds(cost))


def device_seconds(cost: Mapping[str, float]) -> float:
    """GPUs times seconds; without a GPU the wall's."""
    return cost.get("gpu_seconds", 0.0) or cost.get("seconds", 0.0)


def total(parts: list[Cost]) -> Cost:
    """The sum of all parts."""
    tokens: dict[str, tuple[int, int]] = {}
    for part in parts:
        tokens = added(tokens, part.tokens)
    return Cost(
        sum(part.seconds for part in parts),
        sum(part.calls for part in parts),
        tokens,
        sum(part.device_seconds or 0.0 for part in parts),
    )
