"""Neighbours by vectors: exact for few rows, within cells for many."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from memo_ray.config.comparison import Encoder
from memo_ray.corpus import vectors
from memo_ray.corpus.vectors import MOST_PIECES, PIECE_CHARACTERS, nearest_vectors, pieces, text_vectors
from memo_ray.models.embedding import unit


def rows(count: int, dimensions: int = 16, clusters: int = 0) -> np.ndarray:
    draw = np.random.default_rng(0)
    found = draw.normal(size=(count, dimensions)).astype(np.float32)
    if clusters:
        found = 0.3 * found + draw.normal(size=(clusters, dimensions)).astype(np.float32)[np.arange(count) % clusters]
    return unit(found)


def found(made: np.ndarray, apart: np.ndarray, k: int) -> dict[int, list[int]]:
    near: dict[int, list[int]] = defaultdict(list)
    for ones, twos, scores in nearest_vectors(made, apart, k):
        assert all(0 <= score <= vectors.HIGHEST for score in scores)
        for one, two in zip(ones.tolist(), twos.tolist(), strict=True):
            near[one].append(two)
    return near


def test_few_rows_have_exactly_their_nearest_of_other_chunks() -> None:
    made, apart = rows(300), np.arange(300) // 3
    near = found(made, apart, 5)
    likeness = np.where(apart[:, None] == apart[None, :], -2, made @ made.T)
    for row in range(300):
        best = np.argsort(-likeness[row])[:5]
        assert likeness[row, near[row]] == pytest.approx(likeness[row, best], abs=2e-4)
        assert all(apart[other] != apart[row] for other in near[row])


def test_many_rows_are_looked_at_in_cells_and_nearly_all_neighbours_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    made = rows(3000, clusters=40)
    exact = found(made, np.arange(3000), 5)
    monkeypatch.setattr(vectors, "EXACT", 500)
    near = found(made, np.arange(3000), 5)
    assert set(near) == set(exact)
    hits = sum(len(set(near[row]) & set(exact[row])) for row in exact)
    assert hits / (5 * 3000) > 0.9
    assert found(made, np.arange(3000), 5) == near


def test_equals_do_not_all_choose_the_same_and_nothing_is_asked_of_nothing() -> None:
    made = np.repeat(rows(1), 6, axis=0)
    near = found(made, np.arange(6), 2)
    assert near == {row: [(row + 1) % 6, (row + 2) % 6] for row in range(6)}
    assert found(made, np.zeros(6, dtype=int), 2) == {} == found(made, np.arange(6), 0)
    assert found(np.zeros((0, 4), np.float32), np.arange(0), 2) == {}


def test_long_texts_are_cut_into_pieces_evenly() -> None:
    assert pieces("") == [""] and pieces("short") == ["short"]
    assert "".join(pieces("x" * (PIECE_CHARACTERS * 3 + 5))) == "x" * (PIECE_CHARACTERS * 3 + 5)
    assert len(pieces("x" * PIECE_CHARACTERS * 100)) == MOST_PIECES


def test_a_long_text_is_the_mean_of_its_pieces(tiny_model: Path) -> None:
    encoder = Encoder(engine="transformers", model=str(tiny_model))
    long = "the ship " * 400
    with text_vectors(encoder, "discovered.encoder") as embed:
        made = vectors.vectors_of_long([long, "a wall", long], embed)
        parts = embed(pieces(long))
    assert made.shape == (3, 32) and np.allclose(made[0], made[2], atol=1e-5)
    assert np.allclose(made[0], unit(parts.mean(axis=0, keepdims=True))[0], atol=1e-5)
