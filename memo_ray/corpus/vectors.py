"""Nearest neighbours of texts by an encoder's vectors, within a budget, as `neighbours.py` finds them by words.

Texts in, vectors of length 1 out; vectors in, the k best neighbours of every row out. Comparing all rows costs the
square of their number, so above `EXACT` rows each is compared with those of its nearest cells only, and the work grows
with the power 1.5. Everything but the encoder is numpy and gives the same result every time.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memo_ray.config.comparison import EmbeddingModel
from memo_ray.models.embedding import open_embedder, unit

EXACT = 16_384
"""Rows up to which every one is compared with all others."""
PROBES = 8
"""Cells whose rows one row is compared with, its own among them."""
ROUNDS = 4
"""Of k-means; cells need not be the best ones, only even."""
BLOCK = 256
"""Rows that are compared at once; bounds the memory."""
HIGHEST = (1 << 14) - 1
"""The score of equals; opposites have 0."""
PIECE_CHARACTERS = 1500
"""An encoder reads a few hundred tokens, so a longer text is the mean of pieces of this length, ..."""
MOST_PIECES = 16
"""... at most so many, evenly spread."""

Vectors = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
"""Vectors (texts, dimensions) of length 1."""


@contextmanager
def text_vectors(encoder: EmbeddingModel, key: str) -> Iterator[Embed]:
    """A function from texts to vectors, until the block ends. `key` is the encoder's setting, named in errors.

    Raises ConfigError for an encoder that cannot be had, the function GenerationError for one that does not answer.
    """
    embedder = open_embedder(encoder, key)
    with asyncio.Runner() as runner:
        try:
            yield lambda texts: runner.run(embedder.embed(list(texts)))
        finally:
            runner.run(embedder.close())


def identity(encoder: EmbeddingModel, key: str) -> str:
    """What a fingerprint holds of an encoder: its weights' digest and pooling, or the endpoint's model."""
    return open_embedder(encoder, key).identity


def vectors_of_long(texts: Sequence[str], embed: Embed) -> Vectors:
    """Vectors of texts that may be longer than the encoder reads: the mean over their pieces."""
    cut = [pieces(text) for text in texts]
    found = embed([piece for parts in cut for piece in parts])
    starts = np.cumsum([0, *(len(parts) for parts in cut[:-1])])
    return unit(np.add.reduceat(found, starts, axis=0))


def pieces(text: str) -> list[str]:
    """The text in pieces of about `PIECE_CHARACTERS`, at most `MOST_PIECES`, evenly spread; at least one."""
    count = max(1, math.ceil(len(text) / PIECE_CHARACTERS))
    taken = min(count, MOST_PIECES)
    numbers = [i * count // taken for i in range(taken)]
    return [text[number * PIECE_CHARACTERS : (number + 1) * PIECE_CHARACTERS] for number in numbers]


def nearest_vectors(
    vectors: Vectors, apart: NDArray[np.integer[Any]], k: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """The at most `k` best rows for every row of `vectors`, by cosine, block by block; as `neighbours.nearest`.

    Rows with equal `apart` are not each other's neighbours. Yields rows, their neighbours and scores from 0 to
    HIGHEST; best first within a row, equals by their distance behind the row.
    """
    if not k or not len(vectors):
        return
    cells, near = cells_of(vectors)
    for cell, members in enumerate(cells):
        others = np.sort(np.concatenate([cells[other] for other in near[cell]]))
        for first in range(0, len(members), BLOCK):
            yield _best(vectors, members[first : first + BLOCK], others, apart, k)


def _best(
    vectors: Vectors, rows: NDArray[np.int64], others: NDArray[np.int64], apart: NDArray[np.integer[Any]], k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The best `k` of `others` for each of `rows`. One integer holds score and place, so that one sort ranks both."""
    total, never = len(vectors), np.iinfo(np.int64).max
    steps = np.rint((vectors[rows] @ vectors[others].T + 1) / 2 * HIGHEST).clip(0, HIGHEST).astype(np.int64)
    behind = (others[None, :] - rows[:, None]) % total
    keys = (HIGHEST - steps) * total + behind
    keys[apart[rows][:, None] == apart[others][None, :]] = never
    taken = min(k, len(others))
    keys = np.sort(np.partition(keys, taken - 1, axis=1)[:, :taken], axis=1)
    one, place = np.nonzero(keys < never)
    found = keys[one, place]
    return rows[one], (found % total + rows[one]) % total, HIGHEST - found // total


def cells_of(vectors: Vectors) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """The rows of every cell, and for every cell its nearest ones, itself first; a single one for few rows."""
    total = len(vectors)
    if total <= EXACT:
        return [np.arange(total)], np.zeros((1, 1), dtype=np.int64)
    count = math.isqrt(total)
    centres = vectors[np.arange(count) * total // count]
    cell_of = np.zeros(total, dtype=np.int64)
    for _ in range(ROUNDS):
        for first in range(0, total, EXACT):
            cell_of[first : first + EXACT] = np.argmax(vectors[first : first + EXACT] @ centres.T, axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, cell_of, vectors)
        filled = np.bincount(cell_of, minlength=count) > 0
        centres = np.where(filled[:, None], unit(sums), centres)
    likeness = centres @ centres.T
    np.fill_diagonal(likeness, 2.0)
    order = np.argsort(cell_of, kind="stable")
    edges = np.searchsorted(cell_of[order], np.arange(count + 1))
    cells = [order[start:end] for start, end in itertools.pairwise(edges)]
    return cells, np.argsort(-likeness, axis=1, kind="stable")[:, :PROBES]
