"""The learning rate rises over its share of the steps and then stays."""

from __future__ import annotations

import pytest

from memo_ray.training.schedule import learning_rate, warmup_steps


def test_it_rises_linearly_and_stays() -> None:
    rates = [learning_rate(step, 100, 2e-5, 0.05) for step in range(100)]
    assert rates[:5] == pytest.approx([4e-6, 8e-6, 1.2e-5, 1.6e-5, 2e-5])
    assert set(rates[4:]) == {2e-5}


@pytest.mark.parametrize(("ratio", "steps"), [(0.0, 0), (0.05, 1), (1.0, 7)])
def test_a_started_step_of_warm_up_counts(ratio: float, steps: int) -> None:
    assert warmup_steps(7, ratio) == steps


def test_without_warm_up_the_first_step_is_at_the_peak() -> None:
    assert learning_rate(0, 10, 1e-4, 0.0) == 1e-4
