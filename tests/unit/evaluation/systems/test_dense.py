from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from memo_ray.config.comparison import EmbeddingEndpoint, Encoder
from memo_ray.errors import GenerationError
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


def test_another_model_behind_the_same_name_fails_with_one_line(corpus: Corpus, tmp_path: Path) -> None:
    class Longer(Letters):
        async def embed(self, texts: Sequence[str]) -> np.ndarray:
            return np.ones((len(texts), 30), dtype=np.float32)

    found(DenseIndex(Letters(), 3), corpus, tmp_path)
    with pytest.raises(GenerationError, match=r"letters: gives 30 dimensions .*embeddings-\w+\.npy holds 26; serve"):
        found(DenseIndex(Longer(), 3), corpus, tmp_path)


@pytest.mark.parametrize(
    ("vectors", "says"),
    [([[1.0, 0.0], [1.0]], "1 and 2 dimensions"), ([[], []], "0 dimensions"), ([[1.0]], "gave 1 of 2 vectors")],
)
def test_an_endpoint_whose_vectors_do_not_fit(vectors: list[list[float]], says: str) -> None:
    data = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(vectors)]
    body = json.dumps({"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}})

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Silent."""

    async def embed(url: str) -> None:
        embedder = open_embedder(EmbeddingEndpoint(engine="openai", base_url=url, model="m", max_retries=0), "e")
        try:
            await embedder.embed(["a", "b"])
        finally:
            await embedder.close()

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        with pytest.raises(GenerationError, match=says):
            asyncio.run(embed(f"http://127.0.0.1:{server.server_port}/v1"))
