from __future__ import annotations

import numpy as np
import pytest

from memo_ray.evaluation.significance import Difference, corrected, difference, figure, interval, sign_flip


def runs(values: list[list[float]]) -> dict[str, dict[int, float]]:
    """Rows are questions, columns seeds."""
    return {f"q{n}": dict(enumerate(row)) for n, row in enumerate(values)}


def test_mean_and_sample_standard_deviation_over_seeds() -> None:
    found = figure(runs([[1, 0, 1], [0, 0, 1]]))
    assert found is not None
    assert found.mean == pytest.approx(0.5) and found.std == pytest.approx(0.5)  # seeds: 0.5, 0, 1
    assert (found.questions, found.seeds) == (2, 3)


def test_one_seed_has_no_spread_and_nothing_no_figure() -> None:
    found = figure(runs([[1], [0]]))
    assert found is not None and found.std is None
    assert figure({}) is None


def test_a_question_missing_under_one_seed_counts_under_the_others() -> None:
    found = figure({"a": {0: 1.0, 1: 1.0}, "b": {0: 0.0}})
    assert found is not None and found.mean == pytest.approx(0.75)


def test_the_interval_holds_the_mean_and_narrows_with_more_questions() -> None:
    few, many = interval([0, 1] * 10), interval([0, 1] * 200)
    assert few[0] < 0.5 < few[1]  # type: ignore[operator]
    assert many[1] - many[0] < (few[1] - few[0]) / 3  # type: ignore[operator]
    # A proportion of 0.5 of 400: 1.96 standard errors are 0.049.
    assert many == pytest.approx((0.451, 0.549), abs=0.01)
    assert interval([1.0]) == (None, None) and interval([1.0, 1.0]) == (1.0, 1.0)


def test_pairs_are_compared_on_shared_questions_alone() -> None:
    left = {"a": {0: 1.0}, "b": {0: 1.0}, "only": {0: 0.0}}
    right = {"a": {0: 0.0}, "b": {0: 1.0}}
    found = difference("x", "y", left, right)
    assert found is not None and (found.mean, found.questions) == (0.5, 2)
    assert difference("x", "y", {"a": {0: 1.0}}, {"b": {0: 1.0}}) is None


def test_sign_flip_agrees_with_counting_all_signs() -> None:
    gaps = np.array([1.0, 1.0, 1.0, 0.0, 1.0, 1.0])  # 5 of one sign: 2 / 2^5
    assert sign_flip(gaps) == pytest.approx(2 / 32)
    assert sign_flip(np.zeros(5)) == 1.0 and sign_flip(np.ones(1)) is None


def test_no_difference_is_seldom_significant() -> None:
    rng = np.random.default_rng(1)
    ps = [sign_flip(rng.normal(size=30), seed) for seed in range(40)]
    assert sum(p < 0.05 for p in ps if p is not None) <= 6


def test_holm() -> None:
    def row(p: float | None) -> Difference:
        return Difference("a", "b", 0.0, None, None, p, None, 5)

    adjusted = [found.p_holm for found in corrected([row(0.04), row(0.01), row(None), row(0.03)])]
    assert adjusted == [pytest.approx(0.06), pytest.approx(0.03), None, pytest.approx(0.06)]


def test_of_one_run_only_what_sets_two_apart_counts() -> None:
    """McNemar's exact test, whose p here is 2 / 2**7."""
    left = {f"q{n}": {0: float(n < 8)} for n in range(12)}
    right = {f"q{n}": {0: float(n < 1)} for n in range(12)}
    found = difference("a", "b", left, right)
    assert found is not None and found.p == pytest.approx(2 / 2**7)
