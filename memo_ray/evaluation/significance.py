"""How sure a figure is: spread over seeds, bootstrap intervals over questions, paired tests between systems.

Scores are given by question: its score under every seed. Seeds are runs of the same questions, so they are averaged
before questions are resampled; a question is the unit that is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

Scores = Mapping[str, Mapping[int, float]]
"""Question id → seed → score."""
RESAMPLES = 9_999
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Figure:
    """A system's score: the mean over seeds of the means over questions, and their sample standard deviation.

    `low`, `high`: 95% bootstrap interval over questions; None for fewer than two. `std` is None for one seed.
    """

    mean: float
    std: float | None
    low: float | None
    high: float | None
    questions: int
    seeds: int


@dataclass(frozen=True, slots=True)
class Difference:
    """System `one` less system `other`, on the questions that both have scores for.

    `p`: two-sided sign-flip permutation test on the questions' differences; `p_holm` after Holm's correction over
    all comparisons of a table. None: fewer than two questions.
    """

    one: str
    other: str
    mean: float
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    questions: int


def figure(scores: Scores, seed: int = 0) -> Figure | None:
    """The figure of one system; None without a score. `seed` draws the bootstrap's samples."""
    by_seed: dict[int, list[float]] = {}
    for runs in scores.values():
        for run, value in runs.items():
            by_seed.setdefault(run, []).append(value)
    if not by_seed:
        return None
    means = [float(np.mean(values)) for values in by_seed.values()]
    values = by_question(scores)
    low, high = interval(list(values.values()), seed)
    spread = float(np.std(means, ddof=1)) if len(means) > 1 else None
    return Figure(float(np.mean(means)), spread, low, high, len(values), len(means))


def by_question(scores: Scores) -> dict[str, float]:
    """Each question's mean over the seeds under which it was scored."""
    return {name: float(np.mean(list(runs.values()))) for name, runs in scores.items() if runs}


def interval(values: Sequence[float], seed: int = 0) -> tuple[float | None, float | None]:
    """The 95% percentile bootstrap interval of the mean."""
    if len(values) < 2:
        return None, None
    if len(set(values)) == 1:
        return float(values[0]), float(values[0])
    found = stats.bootstrap(
        (np.asarray(values, dtype=float),), np.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE,
        method="percentile", vectorized=True, batch=500, rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


def difference(one: str, other: str, left: Scores, right: Scores, seed: int = 0) -> Difference | None:
    """`one` against `other`, paired by question; None when they share none."""
    first, second = by_question(left), by_question(right)
    shared = sorted(first.keys() & second.keys())
    if not shared:
        return None
    gaps = np.array([first[name] - second[name] for name in shared])
    low, high = interval(gaps.tolist(), seed)
    return Difference(one, other, float(gaps.mean()), low, high, sign_flip(gaps, seed), None, len(shared))


def sign_flip(gaps: np.ndarray, seed: int = 0) -> float | None:
    """The two-sided p of no difference: how often random signs give a mean at least as far from 0.

    Of one run with right or wrong answers this is McNemar's test: questions that both have right or wrong do not count.
    """
    if len(gaps) < 2:
        return None
    if not gaps.any():
        return 1.0
    found = stats.permutation_test(
        (gaps,), lambda values, axis: np.mean(values, axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=RESAMPLES, batch=500, alternative="two-sided", rng=np.random.default_rng(seed),
    )  # fmt: skip
    return float(found.pvalue)


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """The same with `p_holm`: Holm's step-down correction over those that have a p."""
    order = sorted((found.p, place) for place, found in enumerate(differences) if found.p is not None)
    adjusted: dict[int, float] = {}
    highest = 0.0
    for rank, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[place] = highest
    return [replace(found, p_holm=adjusted.get(place)) for place, found in enumerate(differences)]
