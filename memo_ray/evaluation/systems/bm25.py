"""BM25 over chunks, by the package `bm25s` in Lucene's variant: the lexical baseline.

Synthesis and citations have an index of their own (`corpus/bm25.py`), which looks up every text of a collection.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np

from memo_ray.corpus.words import telling
from memo_ray.evaluation.systems.context import Found
from memo_ray.evaluation.systems.reading import Passage
from memo_ray.evaluation.systems.system import Corpus, Cost, Failed, Query


class Bm25Index:
    """Ranks chunks by the words that they share with a question, function words left out. Titles count as text."""

    fit = "drop"

    def __init__(self, top_k: int, k1: float = 1.5, b: float = 0.75) -> None:
        self._top_k, self._k1, self._b = top_k, k1, b
        self._passages: list[Passage] = []
        self._index: bm25s.BM25 | None = None

    async def prepare(self, corpus: Corpus, folder: Path) -> Cost:
        """Build the index; seconds for a corpus of thousands of chunks, so it is not kept."""
        clock = time.perf_counter()
        self._passages = passages_of(corpus)
        words = [telling(f"{row.title}\n{row.text}") for row in self._passages]
        if any(words):
            self._index = bm25s.BM25(method="lucene", k1=self._k1, b=self._b)
            self._index.index(words, show_progress=False)
        return Cost(time.perf_counter() - clock)

    async def find(self, queries: Sequence[Query]) -> list[Found | Failed]:
        """The `top_k` chunks of each query, of equals the earlier in the corpus; none that shares no word."""
        return [Found([self._passages[place] for place in self.rank(query.question)]) for query in queries]

    def rank(self, question: str) -> list[int]:
        """Places of the best chunks."""
        words = telling(question)
        if self._index is None or not words:
            return []
        scores = self._index.get_scores(words)
        # All scores and not the package's best ones, whose order among equals is left open.
        best = np.argsort(-scores, kind="stable")[: self._top_k]
        return [int(place) for place in best if scores[place] > 0]

    async def close(self) -> None:
        """Nothing."""


def passages_of(corpus: Corpus) -> list[Passage]:
    """The corpus's chunks as passages."""
    return [Passage(row.document_id, row.title, row.text) for row in corpus.chunks]
