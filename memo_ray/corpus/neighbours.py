"""Nearest neighbours of short texts by BM25, each within a budget, so that the work grows with the number of texts.

Sparse term counts go in, the k best neighbours of every row come out. Exact BM25 over common terms would cost the
square of the collection: a row is looked up by its rarest terms only, as many as their posting lists hold
`POSTINGS` entries together. Everything is numpy and scipy on one thread and gives the same result every time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from memo_ray.corpus.bm25 import by_term, holders, size_of

POSTINGS = 2000
"""Entries of posting lists that one row may look at."""
BLOCK_POSTINGS = 4_000_000
"""Entries that are looked at together: what bounds the memory, at some 100 bytes each."""
SCORE_STEPS = 64
"""Scores are compared in steps of 1/64, so that the order of a sum cannot decide between equals."""
_ROW_BITS, _SCORE_BITS, _PLACE_BITS = 18, 14, 31


def nearest(
    counts: csr_array, apart: NDArray[np.integer[Any]], k: int, population: NDArray[np.integer[Any]] | None = None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """The at most `k` best rows for every row of `counts` (rows x terms), by BM25, block by block.

    Rows with equal `apart` are not each other's neighbours, nor are rows without a common term. `population[t]`: how
    many rows could hold term t (all, if not given). Yields rows, their neighbours and scores in steps of
    1/SCORE_STEPS; best first within a row, equals by their distance behind the row.
    """
    total, width = size_of(counts)
    frequency = holders(counts)
    rows = np.repeat(np.arange(total), np.diff(counts.indptr))
    asked = _within_budget(rows, counts.indices, frequency)
    if not k or not len(asked[0]):
        return
    weights = by_term(counts, population)
    spent = np.bincount(asked[0], frequency[asked[1]], minlength=total).cumsum()
    first = 0
    query = csr_array((np.ones(len(asked[0]), dtype=np.float32), asked), shape=(total, width))
    while first < total:
        before = spent[first - 1] if first else 0
        fits = int(np.searchsorted(spent, before + BLOCK_POSTINGS, side="right"))
        last = min(max(first + 1, fits), first + (1 << _ROW_BITS), total)
        scores = query[first:last] @ weights
        yield _best(scores, first, apart, k)
        first = last


def _within_budget(
    rows: NDArray[np.int64], columns: NDArray[Any], frequency: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row and term of the entries that rows are looked up by: rarest first, never a term that one row alone has."""
    shared = frequency[columns] > 1
    rows, columns = rows[shared], columns[shared].astype(np.int64)
    order = np.lexsort((columns, frequency[columns], rows))
    rows, columns = rows[order], columns[order]
    spent = frequency[columns].cumsum()
    starts = np.searchsorted(rows, rows)
    before = np.where(starts > 0, spent[starts - 1], 0)
    chosen = spent - before <= POSTINGS
    return rows[chosen], columns[chosen]


def _best(
    scores: csr_array, first: int, apart: NDArray[np.integer[Any]], k: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The best k of every row of a block. One integer holds row, score and place, so that one sort ranks them all."""
    height, total = size_of(scores)
    rows = np.repeat(np.arange(height), np.diff(scores.indptr))
    columns = scores.indices.astype(np.int64)
    there = apart[rows + first] != apart[columns]
    rows, columns = rows[there], columns[there]
    highest = (1 << _SCORE_BITS) - 1
    steps = np.minimum(scores.data[there] * SCORE_STEPS, highest).astype(np.int64)
    # Equals in the order of the rows that follow, round the end: else all rows would choose the same first ones.
    behind = (columns - rows - first) % total
    keys = np.sort((rows << (_SCORE_BITS + _PLACE_BITS)) | ((highest - steps) << _PLACE_BITS) | behind)
    rows = keys >> (_SCORE_BITS + _PLACE_BITS)
    chosen = np.arange(len(rows)) - np.searchsorted(rows, rows) < k
    keys, rows = keys[chosen], rows[chosen] + first
    behind = keys & ((1 << _PLACE_BITS) - 1)
    steps = highest - ((keys >> _PLACE_BITS) & highest)
    return rows, (behind + rows) % total, steps
