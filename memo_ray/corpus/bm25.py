"""BM25 in Lucene's variant: the weights of sparse term counts, and an index over texts that is searched by them.

A term t of a text d weighs ln(1 + (N - n + 0.5) / (n + 0.5)) * f (k1 + 1) / (f + k1 (1 - b + b |d| / avg)), with N
texts, n of them holding t, and f its count in d. `neighbours.py` looks up every text of a collection by them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from memo_ray.corpus.words import words

K1, B = 1.2, 0.75
"""BM25's usual saturation and length normalisation."""


class TermRows:
    """Rows of a sparse matrix of term counts, gathered one by one."""

    def __init__(self) -> None:
        self._starts, self._columns, self._values = [0], list[int](), list[int]()

    def add(self, counts: dict[int, int]) -> None:
        """The next row: how often each column's term occurs in it."""
        self._columns += counts
        self._values += counts.values()
        self._starts.append(len(self._columns))

    def matrix(self, width: int) -> csr_array:
        """All rows, their columns in order."""
        data = np.asarray(self._values, dtype=np.float32)
        columns = np.asarray(self._columns, dtype=np.int32)
        parts = (data, columns, np.asarray(self._starts, dtype=np.int64))
        made = csr_array(parts, shape=(len(self._starts) - 1, width))
        made.sort_indices()
        return made


def size_of(matrix: csr_array) -> tuple[int, int]:
    """Rows and columns, which scipy's types leave open."""
    return cast(tuple[int, int], matrix.shape)


def holders(counts: csr_array) -> NDArray[np.int64]:
    """In how many rows each term is."""
    return np.bincount(counts.indices, minlength=size_of(counts)[1])


def by_term(
    counts: csr_array, population: NDArray[np.integer[Any]] | None = None, k1: float = K1, b: float = B
) -> csr_array:
    """Terms x rows: what a row's term adds to the score of a query that has it.

    `counts` (rows x terms): how often each row holds each term. `population[t]`: how many rows could hold term t (all,
    if not given).
    """
    there = size_of(counts)[0] if population is None else population
    found = holders(counts)
    idf = np.log1p((there - found + 0.5) / (found + 0.5)).astype(np.float32)
    lengths = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    saturation = k1 * (1 - b + b * lengths / (lengths.mean() if len(lengths) else 1))
    rows = np.repeat(np.arange(len(lengths)), np.diff(counts.indptr))
    data = idf[counts.indices] * counts.data * (k1 + 1) / (counts.data + saturation[rows])
    return csr_array(csr_array((data.astype(np.float32), counts.indices, counts.indptr), shape=size_of(counts)).T)


class Bm25:
    """An index over texts, which are known by their position."""

    def __init__(
        self, texts: Sequence[str], split: Callable[[str], list[str]] = words, k1: float = K1, b: float = B
    ) -> None:
        """`split`: the words by which texts and queries are compared."""
        rows = TermRows()
        self._split, self._places = split, dict[str, int]()
        for text in texts:
            rows.add({self._places.setdefault(w, len(self._places)): n for w, n in Counter(split(text)).items()})
        counts = rows.matrix(len(self._places))
        self.size = len(texts)
        self._weights = by_term(counts, k1=k1, b=b)
        self._holders = holders(counts)

    def rarity(self, word: str) -> float:
        """The inverse document frequency of a word, above 0; the highest for a word in no text."""
        place = self._places.get(word)
        found = 0 if place is None else int(self._holders[place])
        return math.log(1 + (self.size - found + 0.5) / (found + 0.5))

    def coverage(self, wanted: Iterable[str], there: set[str]) -> float:
        """How much of the words `wanted` is among the words `there`, weighted by rarity: 0 to 1; 0 for no words."""
        rarities = {word: self.rarity(word) for word in wanted}
        total = sum(rarities.values())
        return sum(value for word, value in rarities.items() if word in there) / total if total else 0.0

    def top(self, query: str, count: int) -> list[tuple[int, float]]:
        """The positions and scores of at most `count` texts, best first, of equals the earlier; texts that share no
        word are left out. A word that stands twice in the query counts twice."""
        scores = np.zeros(self.size, dtype=np.float32)
        starts = self._weights.indptr
        for word, times in Counter(self._split(query)).items():
            if (place := self._places.get(word)) is not None:
                held = slice(starts[place], starts[place + 1])
                scores[self._weights.indices[held]] += times * self._weights.data[held]
        best = np.flatnonzero(scores)
        if len(best) > count:
            # Only what can be among the best is sorted; equals of the last of them stay in, so that the earlier wins.
            best = best[scores[best] >= np.partition(scores[best], len(best) - count)[len(best) - count]]
        ordered = best[np.argsort(-scores[best], kind="stable")][:count]
        return [(row, float(scores[row])) for row in ordered.tolist()]
