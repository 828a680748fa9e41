"""What a synthesis does, as Ray metrics by step: for Prometheus, while it runs; and as a JSON line a row, if wanted."""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Iterable, Mapping
from typing import Any

from ray.util.metrics import Counter

from memo_ray import json_log
from memo_ray.ray_stages import from_zero
from memo_ray.synthesis.recipe import UnitResult

MEASURED = {
    "prompts": "Prompts asked, those that examine pairs included",
    "input_tokens": "Tokens of prompts",
    "output_tokens": "Tokens of replies",
    "cached_tokens": "Tokens of prompts that the engine had in its cache",
    "kept": "Pairs that passed their step's checks",
    "rejects": "Prompts and pairs that came to nothing",
}
"""Each a counter `memo_synthesis_NAME` with the tag `step`; they grow with every finished row."""


class StepMetrics:
    """The counters of one process; made where a worker lives.

    `steps` begin at 0. With the driver's `labels` a JSON line for every row says what it came to.
    """

    def __init__(self, steps: Iterable[str], labels: Mapping[str, str]) -> None:
        self._labels = dict(labels)
        json_log.labels.update(labels)
        self._counters = {
            name: Counter(f"memo_synthesis_{name}", description=text, tag_keys=("step",))
            for name, text in MEASURED.items()
        }
        for step in steps:
            for counter in self._counters.values():
                from_zero(counter, {"step": step})

    def __call__(self, row_id: str, result: UnitResult) -> None:
        """Count one finished row."""
        found = amounts_of(result)
        if self._labels:
            total = sum(map(Counts, found.values()), Counts())
            counts: dict[str, Any] = {name: total[name] for name in MEASURED}
            json_log.write("row finished", row=row_id, **counts)
        for step, amounts in found.items():
            for name, amount in amounts.items():
                if amount:
                    self._counters[name].inc(amount, {"step": step})


def amounts_of(result: UnitResult) -> dict[str, dict[str, int]]:
    """What a row adds to each counter, by step."""
    return {
        step: {
            **{name: count[name] for name in ("input_tokens", "output_tokens", "cached_tokens")},
            "prompts": count["prompts"] + count["checks"],
            "kept": max(0, count["made"] - sum(count["lost"].values())),
            "rejects": sum(count["failed"].values()) + sum(count["lost"].values()),
        }
        for step, count in result.counts.items()
    }
