"""The learning rate by step: a linear rise, then constant (paper, Tables 10 and 11)."""

from __future__ import annotations

import math


def warmup_steps(steps: int, ratio: float) -> int:
    """Over how many of all `steps` the learning rate rises."""
    return math.ceil(steps * ratio)


def learning_rate(step: int, steps: int, peak: float, ratio: float) -> float:
    """The learning rate of `step` (from 0) of `steps`; it reaches `peak` at the end of the warm-up."""
    return peak * min(1.0, (step + 1) / max(1, warmup_steps(steps, ratio)))
