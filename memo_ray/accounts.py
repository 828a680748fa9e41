"""What a run has spent over all its commands, attempts that failed among them, and what that costs by its prices.

Every attempt at an artefact keeps one small file below the run's `spent/`, so that two drivers never write the same one
and a killed command loses no more than its last half minute.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

from memo_ray.artifacts.place import Place
from memo_ray.config.models import ModelConfig, OpenAIModel
from memo_ray.config.run import RunConfig
from memo_ray.errors import SpendingLimitReached, StoreError
from memo_ray.models.spending import money

HOUR = 3600.0
HELD = ("gpu_seconds", "cpu_seconds")
"""GPUs and cores that a stage held, times the seconds for which it did."""


def priced(config: RunConfig, stage: str, cost: Mapping[str, float]) -> float | None:
    """What `cost` of one attempt at `stage` comes to; None where the run states no price for any of it."""
    costs = config.costs
    parts = [cost.get("gpu_seconds", 0.0) / HOUR * costs.gpu_hour] if costs.gpu_hour is not None else []
    parts += [cost.get("cpu_seconds", 0.0) / HOUR * costs.cpu_hour] if costs.cpu_hour is not None else []
    model, prefix = endpoint(config, stage)
    if isinstance(model, OpenAIModel) and model.prices is not None:
        used = {name: cost.get(f"{prefix}{name}", 0.0) for name in ("input_tokens", "output_tokens", "cached_tokens")}
        parts.append(money(model.prices, used, batch=model.batch is not None))
    return round(sum(parts), 6) if parts else None


def endpoint(config: RunConfig, stage: str) -> tuple[ModelConfig | None, str]:
    """The model that may be paid by its tokens in a stage, and what the names of those tokens begin with."""
    if stage == "synthesis":
        return config.synthesis.generator, ""
    return (config.serving.executive, "executive_") if stage == "evaluation" else (None, "")


class Account:
    """The attempts of a run in its `spent/`: seconds held, tokens and money of each."""

    def __init__(self, config: RunConfig, place: Place) -> None:
        self.config = config
        self._place = place.child("spent")

    def spent(self) -> Counter[str]:
        """The sum over all attempts. Raises StoreError."""
        total: Counter[str] = Counter()
        for name in self._place.names():
            try:
                total.update(json.loads(self._place.get(name) or b"{}"))
            except (ValueError, TypeError) as error:
                raise StoreError(f"{self._place.url}/{name}: is damaged; mend or remove it") from error
        return total

    def keep(self, attempt: str, amounts: Mapping[str, float]) -> None:
        """Write what `attempt` has spent so far, in place of what was written before."""
        self._place.put(f"{attempt}.json", json.dumps(dict(amounts)).encode())

    def reached(self, spent: Mapping[str, float]) -> str:
        """What to say when `spent` has passed a limit of the run; else empty."""
        costs = self.config.costs
        hours = spent.get("gpu_seconds", 0.0) / HOUR
        if costs.max_gpu_hours is not None and hours >= costs.max_gpu_hours:
            return self._said("max_gpu_hours", f"{costs.max_gpu_hours:g} GPU-hours", f"{hours:.2f}")
        paid = spent.get("money", 0.0)
        if costs.max_cost is not None and paid >= costs.max_cost:
            return self._said("max_cost", f"{costs.max_cost:g} {self.config.currency}", f"{paid:.2f}")
        return ""

    def check(self) -> None:
        """Raise SpendingLimitReached when the run has spent what it may, before another stage begins."""
        if text := self.reached(self.spent()):
            raise SpendingLimitReached(text)

    def _said(self, key: str, limit: str, used: str) -> str:
        return (
            f"costs.{key}: the run's limit of {limit} is reached ({used} spent); what is done stays: raise the limit "
            "and run the same command to go on"
        )


def spent_text(spent: Mapping[str, float], currency: str) -> str:
    """What was spent, as words for a line."""
    parts = [f"{spent.get(key, 0.0) / HOUR:.2f} {name}-hours" for key, name in zip(HELD, ("GPU", "core"), strict=True)]
    parts += [f"{int(spent[key]):,} tokens {what}" for key, what in TOKENS if spent.get(key)]
    return ", ".join(parts + ([f"{spent['money']:.2f} {currency}"] if "money" in spent else []))


TOKENS = (("input_tokens", "read"), ("output_tokens", "written"), ("trained_tokens", "trained"))
