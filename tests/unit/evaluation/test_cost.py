from __future__ import annotations

import pytest

from memo_ray.config.comparison import Price, Prices
from memo_ray.evaluation.cost import money, spent
from memo_ray.evaluation.report.exports import escape
from memo_ray.evaluation.systems.system import Cost

PRICES = Prices(models={"api": Price(input=2.0, output=8.0)}, gpu_hour=3.6)


def test_a_priced_model_costs_its_tokens_and_our_own_its_time() -> None:
    assert money({"api": (1_000_000, 500_000)}, 100.0, PRICES) == pytest.approx(6.0)
    assert money({"own": (1_000_000, 500_000)}, 100.0, PRICES) == pytest.approx(0.1)
    assert money({"own": (10, 10), "api": (500_000, 0)}, 100.0, PRICES) == pytest.approx(1.1)
    assert money({}, 100.0, PRICES) == 0.0


def test_no_answer_costs_only_the_index() -> None:
    found = spent(Cost(10.0, 2, {"api": (1000, 0)}), [], PRICES)
    assert (found.index_seconds, found.index_tokens, found.answers, found.money) == (10.0, 1000, 0, 0.0)
    assert found.index_money == pytest.approx(0.002)
    assert spent(None, [], PRICES).index_seconds == 0.0


def test_names_in_latex() -> None:
    assert escape(r"a_b 50% & \x {y} #1 $ ~^") == (
        r"a\_b 50\% \& \textbackslash{}x \{y\} \#1 \$ \textasciitilde{}\textasciicircum{}"
    )
