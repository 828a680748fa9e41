from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from memo_ray.config.comparison import Encoder
from memo_ray.evaluation.systems.dense import DenseIndex
from memo_ray.evaluation.systems.system import Corpus, Failed
from memo_ray.models.embedding import open_embedder, unit
from tests.unit.evaluation.systems.conftest import QUERIES


class Letters:
    """A real if poor embedding: how often each letter occurs."""

    name, identity = "letters", "letters-1"

    def __init__(self) -> None:
        self.tokens = 0
        self.seen: list[str] = []

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.seen += texts
        self.tokens += sum(map(len, texts))
        return unit(
            np.array([[text.lower().count(chr(97 + n)) for n in range(26)] for text in texts], dtype=np.float32)
        )

    async def close(self) -> None:
        return None


def found(index: DenseIndex, corpus: Corpus, folder: Path) -> list[list[str]]:
    async def run() -> list[list[str]]:
        await index.prepare(corpus, folder)
        rows = await index.find(QUERIES)
        return [[] if isinstance(row, Failed) else [passage.document_id for passage in row.passages] for row in rows]

    return asyncio.run(run())


def test_the_nearest_chunks_first(corpus: Corpus, tmp_path: Path) -> None:
    embedder = Letters()
    ranked = found(DenseIndex(embedder, 2, "Query: ", "Text: "), corpus, tmp_path)
    assert [len(row) for row in ranked] == [2, 2, 2]
    assert ranked[0][0] == "wall"
    assert all(text.startswith("Text: ") for text in embedder.seen[:4])
    assert all(text.startswith("Query: ") for text in embedder.seen[4:])


def test_embeddings_are_kept_for_the_same_corpus_and_model(corpus: Corpus, tmp_path: Path) -> None:
    first, second, third = Letters(), Letters(), Letters()
    third.identity = "letters-2"  # type: ignore[misc]
    ranked = [found(DenseIndex(embedder, 4), corpus, tmp_path) for embedder in (first, second, third)]
    assert ranked[0] == ranked[1] == ranked[2]
    assert [len(embedder.seen) for embedder in (first, second, third)] == [7, 3, 7]


def test_a_real_encoder(corpus: Corpus, tiny_model: Path, tmp_path: Path) -> None:
    embedder = open_embedder(Encoder(engine="transformers", model=str(tiny_model)), "e")
    assert all(len(set(row)) == 3 for row in found(DenseIndex(embedder, 3), corpus, tmp_path))


def test_no_query_needs_no_embedding(corpus: Corpus, tmp_path: Path) -> None:
    embedder = Letters()
    assert asyncio.run(DenseIndex(embedder, 3).find([])) == [] and embedder.seen == []
    with pytest.raises(ValueError, match="matmul"):
        asyncio.run(DenseIndex(embedder, 3).find(QUERIES))  # not prepared
