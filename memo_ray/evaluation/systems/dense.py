"""Dense retrieval over chunks: cosine similarity of embeddings, which are kept beside the run."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from memo_ray.errors import GenerationError
from memo_ray.evaluation.systems.bm25 import passages_of
from memo_ray.evaluation.systems.context import Found
from memo_ray.evaluation.systems.reading import Passage
from memo_ray.evaluation.systems.system import Corpus, Cost, Failed, Query
from memo_ray.models.embedding import Embedder


class DenseIndex:
    """Ranks chunks by the embedding of their title and text."""

    fit = "drop"

    def __init__(self, embedder: Embedder, top_k: int, query_prefix: str = "", document_prefix: str = "") -> None:
        self._embedder = embedder
        self._top_k = top_k
        self._query_prefix, self._document_prefix = query_prefix, document_prefix
        self._passages: list[Passage] = []
        self._vectors = np.zeros((0, 0), dtype=np.float32)
        self._kept = Path()

    async def prepare(self, corpus: Corpus, folder: Path) -> Cost:
        """Embed the chunks, or load their embeddings when `folder` has them for this corpus and model."""
        clock = time.perf_counter()
        self._passages = passages_of(corpus)
        key = hashlib.sha256(f"{corpus.digest}\n{self._embedder.identity}\n{self._document_prefix}".encode())
        kept = self._kept = folder / f"embeddings-{key.hexdigest()[:16]}.npy"
        if kept.is_file():
            self._vectors = np.load(kept, allow_pickle=False)
            return Cost(time.perf_counter() - clock)
        before = self._embedder.tokens
        texts = [f"{self._document_prefix}{row.title}\n{row.text}".strip() for row in self._passages]
        self._vectors = await self._embedder.embed(texts)
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(".unfinished.npy")
        np.save(unfinished, self._vectors, allow_pickle=False)
        unfinished.rename(kept)
        tokens = {self._embedder.name: (self._embedder.tokens - before, 0)}
        return Cost(time.perf_counter() - clock, len(texts), tokens)

    async def find(self, queries: Sequence[Query]) -> list[Found | Failed]:
        """The `top_k` chunks of each query; of equals the earlier in the corpus. What was read is shared evenly."""
        if not queries:
            return []
        before = self._embedder.tokens
        asked = await self._embedder.embed([f"{self._query_prefix}{query.question}" for query in queries])
        if asked.shape[1] != self._vectors.shape[1]:
            raise GenerationError(
                f"{self._embedder.name}: gives {asked.shape[1]} dimensions for a question, and {self._kept} holds "
                f"{self._vectors.shape[1]}; serve the model that embedded the corpus, or remove the file"
            )
        tokens = {self._embedder.name: ((self._embedder.tokens - before) // len(queries), 0)}
        order = np.argsort(-(asked @ self._vectors.T), axis=1, kind="stable")[:, : self._top_k]
        return [Found([self._passages[place] for place in row], 1, tokens) for row in order]

    async def close(self) -> None:
        """Free the embedding model."""
        await self._embedder.close()
