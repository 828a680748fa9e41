"""BM25 neighbours against a plain computation of the same."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy.sparse import csr_array

from memo_ray.corpus import neighbours
from memo_ray.corpus.bm25 import K1, B, TermRows
from memo_ray.corpus.neighbours import SCORE_STEPS, nearest


def random_counts(rows: int, terms: int, seed: int) -> list[dict[int, int]]:
    draw = random.Random(seed)
    return [
        {draw.randrange(terms): draw.randint(1, 3) for _ in range(draw.randint(0, 6))} for _ in range(rows)
    ]  # fmt: skip


def matrix(rows: list[dict[int, int]], terms: int) -> csr_array:
    made = TermRows()
    for row in rows:
        made.add(row)
    return made.matrix(terms)


def plain_bm25(rows: list[dict[int, int]], one: int, two: int) -> float:
    """The score of row `two` for the terms of row `one`, each asked for once."""
    lengths = [max(sum(row.values()), 1) for row in rows]
    average = sum(lengths) / len(lengths)
    score = 0.0
    for term in rows[one]:
        count = rows[two].get(term, 0)
        frequency = sum(term in row for row in rows)
        idf = math.log1p((len(rows) - frequency + 0.5) / (frequency + 0.5))
        score += idf * count * (K1 + 1) / (count + K1 * (1 - B + B * lengths[two] / average))
    return score


def everything(rows: list[dict[int, int]], k: int, terms: int = 12) -> dict[int, list[tuple[int, int]]]:
    found: dict[int, list[tuple[int, int]]] = {}
    for ones, twos, scores in nearest(matrix(rows, terms), np.arange(len(rows)), k):
        for one, two, score in zip(ones.tolist(), twos.tolist(), scores.tolist(), strict=True):
            found.setdefault(one, []).append((two, score))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_bm25s_and_the_best_k_are_found(seed: int):
    rows = random_counts(40, 12, seed)
    found = everything(rows, 3)
    for one in range(len(rows)):
        wanted = sorted((plain_bm25(rows, one, two) for two in range(len(rows)) if two != one), reverse=True)
        wanted = [score for score in wanted[:3] if score > 0]
        assert [score / SCORE_STEPS for _, score in found.get(one, [])] == pytest.approx(wanted, abs=1 / SCORE_STEPS)


def test_small_blocks_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch):
    rows = random_counts(60, 12, 9)
    whole = everything(rows, 4)
    monkeypatch.setattr(neighbours, "BLOCK_POSTINGS", 25)
    assert everything(rows, 4) == whole


def test_beyond_the_budget_only_the_rarest_terms_are_looked_up(monkeypatch: pytest.MonkeyPatch):
    rows = [{0: 1, 1: 1}, {0: 1}, {0: 1}, {0: 1, 1: 1}]
    monkeypatch.setattr(neighbours, "POSTINGS", 2)
    assert {one: [two for two, _ in found] for one, found in everything(rows, 5).items()} == {0: [3], 3: [0]}


def test_equals_are_taken_from_the_rows_behind():
    found = everything([{0: 1}] * 10, 2)
    assert [two for two, _ in found[0]] == [1, 2] and [two for two, _ in found[9]] == [0, 1]
