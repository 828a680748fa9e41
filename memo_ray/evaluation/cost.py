"""What answers cost: tokens and seconds as measured, and money by a price table.

A model with a price costs its tokens. Any other runs on our own device, and costs that device's time: the wall
seconds of what it was part of, times `gpu_hour`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memo_ray.config.comparison import Prices
from memo_ray.evaluation.systems.system import Cost
from memo_ray.rows import SystemAnswer


@dataclass(frozen=True, slots=True)
class Spent:
    """A system's cost on a corpus: of preparing itself once, and of a question on average over `answers`."""

    index_seconds: float
    index_tokens: int
    index_money: float
    seconds: float
    calls: float
    input_tokens: float
    output_tokens: float
    money: float
    answers: int


def money(
    tokens: Mapping[str, Sequence[int]], seconds: float, prices: Prices, device_seconds: float | None = None
) -> float:
    """What `tokens` (model name to input and output) and the wall `seconds` beside them cost; see Cost."""
    priced = sum(
        (read * prices.models[name].input + written * prices.models[name].output) / 1e6
        for name, (read, written) in tokens.items()
        if name in prices.models
    )
    if device_seconds is None:
        device_seconds = seconds if any(name not in prices.models for name in tokens) else 0.0
    return priced + device_seconds / 3600 * prices.gpu_hour


def spent(prepared: Cost | None, answers: Sequence[SystemAnswer], prices: Prices) -> Spent:
    """The cost of a system's answers; means over them, 0 without any."""
    index = prepared or Cost()
    count = max(1, len(answers))
    tokens = [json.loads(row.tokens) for row in answers]
    return Spent(
        index_seconds=index.seconds,
        index_tokens=index.input_tokens + index.output_tokens,
        index_money=money(index.tokens, index.seconds, prices, index.device_seconds),
        seconds=sum(row.seconds for row in answers) / count,
        calls=sum(row.calls for row in answers) / count,
        input_tokens=sum(read for row in tokens for read, _ in row.values()) / count,
        output_tokens=sum(written for row in tokens for _, written in row.values()) / count,
        money=sum(money(used, row.seconds, prices) for used, row in zip(tokens, answers, strict=True)) / count,
        answers=len(answers),
    )
