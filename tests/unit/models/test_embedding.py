from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from memo_ray.config.comparison import EmbeddingEndpoint, Encoder
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.models.embedding import TextEncoder, open_embedder, open_encoder, pooling_of
from memo_ray.serving import ledger

TEXTS = ["The harbour wall.", "A ferry", "The school of the island, which was opened in 1840 by a teacher."]


def embed(folder: Path, pooling: str, texts: list[str] = TEXTS, batch_size: int = 2) -> np.ndarray:
    config = Encoder(engine="transformers", model=str(folder), pooling=pooling, batch_size=batch_size)  # type: ignore[arg-type]
    return asyncio.run(open_embedder(config, "e").embed(texts))


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_vectors_have_length_1_and_do_not_depend_on_the_batch(tiny_model: Path, pooling: str) -> None:
    together, alone = embed(tiny_model, pooling, batch_size=3), embed(tiny_model, pooling, batch_size=1)
    assert together.shape == (3, 32) and together.dtype == np.float32
    assert np.linalg.norm(together, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.allclose(together, alone, atol=1e-4)  # padding is not pooled


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> TextEncoder:
    return open_encoder(Encoder(engine="transformers", model=str(tiny_model), batch_size=4), "e")


def test_an_empty_text_has_a_vector_and_no_text_has_none(encoder: TextEncoder) -> None:
    assert np.allclose(np.linalg.norm(encoder.embed(["", *TEXTS]), axis=1), 1, atol=1e-5)
    assert encoder.embed([]).shape == (0, 32)


def test_more_than_a_batch_keeps_its_order(encoder: TextEncoder) -> None:
    rows = encoder.embed([TEXTS[n % 2] for n in range(7)])
    assert rows.shape == (7, 32)
    assert np.allclose(rows[0], rows[6], atol=1e-4) and not np.allclose(rows[0], rows[1], atol=1e-2)


def test_serving_names_an_encoder_by_its_folder(tiny_model: Path) -> None:
    assert ledger.open_embedder(str(tiny_model)).embed(TEXTS).shape == (3, 32)


def test_poolings_differ(tiny_model: Path) -> None:
    assert not np.allclose(embed(tiny_model, "mean"), embed(tiny_model, "last"), atol=1e-3)


def test_the_folders_own_pooling_counts(tiny_model: Path, tmp_path: Path) -> None:
    assert pooling_of(tiny_model) == "mean"
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "1_Pooling").mkdir()
    said = folder / "1_Pooling" / "config.json"
    said.write_text(json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}))
    assert pooling_of(folder) == "cls"
    said.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(ConfigError, match="pools by pooling_mode_max_tokens; only mean, cls and last"):
        pooling_of(folder)


def test_an_encoder_needs_no_chat_template(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert embed(folder, "mean").shape == (3, 32)


class Endpoint(BaseHTTPRequestHandler):
    """Embeds a text as its length and its number of words, in a shuffled order."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked["model"] == "broken":
            self.send_error(400)
            return
        data = [
            {"object": "embedding", "index": n, "embedding": [float(len(text)), float(len(text.split()))]}
            for n, text in enumerate(asked["input"])
        ]
        body = {"object": "list", "data": data[::-1], "model": "m", "usage": {"prompt_tokens": 5, "total_tokens": 5}}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


def test_an_endpoints_vectors_in_the_order_of_the_texts(url: str) -> None:
    embedder = open_embedder(EmbeddingEndpoint(engine="openai", base_url=url, model="m", batch_size=2), "e")
    vectors = asyncio.run(embedder.embed(TEXTS))
    expected = np.array([[len(text), len(text.split())] for text in TEXTS], dtype=np.float32)
    assert np.allclose(vectors, expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)
    assert embedder.tokens == 10  # two requests


def test_an_endpoint_that_refuses_and_a_key_that_is_not_set(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = EmbeddingEndpoint(engine="openai", base_url=url, model="broken", max_retries=0)
    with pytest.raises(GenerationError, match="cannot embed"):
        asyncio.run(open_embedder(config, "e").embed(TEXTS))
    monkeypatch.delenv("A_KEY", raising=False)
    with pytest.raises(ConfigError, match=r"e\.api_key_env: the environment variable A_KEY is not set"):
        open_embedder(config.model_copy(update={"api_key_env": "A_KEY"}), "e")
