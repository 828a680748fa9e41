"""What a synthesis does, as Ray metrics by step: for Prometheus, while it runs."""

from __future__ import annotations

from ray.util.metrics import Counter

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
    """The counters of one process; made where a worker lives."""

    def __init__(self) -> None:
        self._counters = {
            name: Counter(f"memo_synthesis_{name}", description=text, tag_keys=("step",))
            for name, text in MEASURED.items()
        }

    def __call__(self, result: UnitResult) -> None:
        """Count one finished row."""
        for step, amounts in amounts_of(result).items():
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
