"""Texts to vectors: an endpoint that speaks OpenAI's embeddings, or an encoder run here with transformers.

Vectors are float32 and of length 1, so that a dot product is the cosine. An encoder of the sentence-transformers
kind is read as it is published: its weights, its pooling, nothing of its code.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from memo_ray.config.comparison import EmbeddingEndpoint, EmbeddingModel, Encoder
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.models.sources import ModelSource, resolve

POOLING_FLAGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_lasttoken": "last",
}
"""The keys of 1_Pooling/config.json, and the poolings of ours that they mean."""


class Embedder(Protocol):
    """A model that embeds. `identity`: what a cache of vectors is named by."""

    name: str
    identity: str

    @property
    def tokens(self) -> int:
        """Tokens read so far, where known."""
        ...

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (texts, dimensions), float32, each of length 1. Raises GenerationError."""
        ...

    async def close(self) -> None:
        """Free what it holds."""
        ...


def open_embedder(config: EmbeddingModel, key: str) -> Embedder:
    """The embedder of `config`; `key` is named in errors. Raises ConfigError."""
    if isinstance(config, EmbeddingEndpoint):
        return EndpointEmbedder(config, key)
    return EncoderEmbedder(open_encoder(config, f"{key}.model"))


def open_encoder(config: Encoder, key: str) -> TextEncoder:
    """The encoder of `config`, for callers of their own thread; `key` is named in errors. Raises ConfigError."""
    return TextEncoder(config, resolve(config.model, config.revision, key, chat=False))


class EndpointEmbedder:
    """A client of one endpoint; batches go one after another, which the endpoint fills its device with."""

    def __init__(self, config: EmbeddingEndpoint, key: str) -> None:
        import openai

        secret = os.environ.get(config.api_key_env, "") if config.api_key_env else "none"
        if not secret:
            raise ConfigError(
                f"{key}.api_key_env: the environment variable {config.api_key_env} is not set; export the key"
            )
        self.name = config.model
        self.identity = f"openai:{config.model}"
        self.tokens = 0
        self._config = config
        self._client = openai.AsyncOpenAI(
            api_key=secret, base_url=config.base_url, timeout=config.timeout_s, max_retries=config.max_retries
        )

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """As the protocol says."""
        import openai

        rows: list[list[float]] = []
        for start in range(0, len(texts), self._config.batch_size):
            batch = list(texts[start : start + self._config.batch_size])
            try:
                made = await self._client.embeddings.create(
                    model=self._config.model, input=batch, encoding_format="float"
                )
            except openai.OpenAIError as error:
                reason = " ".join(str(error).split())[:200]
                raise GenerationError(f"endpoint {self._config.base_url}: cannot embed ({reason})") from error
            if len(made.data) != len(batch):
                raise GenerationError(
                    f"endpoint {self._config.base_url}: gave {len(made.data)} of {len(batch)} vectors"
                )
            self.tokens += made.usage.prompt_tokens if made.usage else 0
            rows += [item.embedding for item in sorted(made.data, key=lambda item: item.index)]
        lengths = sorted({len(row) for row in rows})
        if len(lengths) > 1 or lengths == [0]:
            raise GenerationError(
                f"endpoint {self._config.base_url}: gave vectors of {' and '.join(map(str, lengths))} dimensions; "
                f"it must serve one embedding model as {self._config.model}"
            )
        return unit(np.asarray(rows, dtype=np.float32))

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()


class EncoderEmbedder:
    """An encoder on this machine, for callers that wait for an endpoint alike."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.name = encoder.name
        self.identity = encoder.identity
        self._encoder = encoder

    @property
    def tokens(self) -> int:
        """Tokens read so far."""
        return self._encoder.tokens

    async def embed(self, texts: Sequence[str]) -> np.ndarray:
        """As the protocol says; longer texts are cut at `max_tokens`."""
        return await asyncio.to_thread(self._encoder.embed, texts)

    async def close(self) -> None:
        """Let go of the weights."""
        self._encoder.close()


class TextEncoder:
    """Any Hugging Face model of texts as an encoder, on the GPU when there is one; loaded when it is first asked.

    Texts that mean the same come out near each other as far as the model was trained for that.
    """

    def __init__(self, config: Encoder, source: ModelSource) -> None:
        """`source`: where the model of `config` lies, safetensors only. Raises ConfigError for an unknown pooling."""
        self.name = config.model
        self.tokens = 0
        self._config = config
        self._pooling = pooling_of(source.path) if config.pooling == "auto" else config.pooling
        self.identity = f"{source.digest}:{self._pooling}:{config.max_tokens}"
        self._folder = source.path
        self._loaded: tuple[Any, Any] | None = None

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """One row of unit length for each text, float32: (texts, hidden size)."""
        import torch

        tokenizer, model = self._load()
        # Texts of like length together, so that little is padded.
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        rows = np.zeros((len(texts), model.config.hidden_size), np.float32)
        for start in range(0, len(order), self._config.batch_size):
            places = order[start : start + self._config.batch_size]
            # An empty text has no token to take the mean of.
            shown = [texts[place] or " " for place in places]
            batch = tokenizer(
                shown, padding=True, truncation=True, max_length=self._config.max_tokens, return_tensors="pt"
            )
            inputs = {name: batch[name].to(model.device) for name in batch if name != "token_type_ids"}
            with torch.inference_mode():
                hidden = model(**inputs).last_hidden_state
            self.tokens += int(inputs["attention_mask"].sum())
            rows[places] = pool(hidden, inputs["attention_mask"], self._pooling).float().cpu().numpy()
        return unit(rows)

    def close(self) -> None:
        """Let go of the weights."""
        self._loaded = None

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            import torch
            from transformers import AutoModel, AutoTokenizer

            tokenizer = AutoTokenizer.from_pretrained(self._folder)
            tokenizer.padding_side = "right"
            if tokenizer.pad_token is None:
                tokenizer.pad_token = tokenizer.eos_token
            model = AutoModel.from_pretrained(self._folder, use_safetensors=True).eval()
            self._loaded = tokenizer, model.to("cuda" if torch.cuda.is_available() else "cpu")
        return self._loaded


def pool(hidden: Any, mask: Any, pooling: str) -> Any:
    """One vector a text (texts, dimensions) of states (texts, tokens, dimensions) padded on the right."""
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        last = mask.sum(dim=1) - 1
        return hidden[range(len(hidden)), last]
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)


def pooling_of(folder: Path) -> str:
    """What a sentence-transformers folder says of its pooling; mean when it says nothing. Raises ConfigError."""
    try:
        said = json.loads((folder / "1_Pooling" / "config.json").read_text())
    except FileNotFoundError:
        return "mean"
    except ValueError:
        raise ConfigError(f"{folder}/1_Pooling/config.json: is not JSON; set pooling") from None
    chosen: list[str] = [
        POOLING_FLAGS.get(key) or key for key, on in said.items() if key.startswith("pooling_mode") and on is True
    ]
    if len(chosen) != 1 or chosen[0] not in POOLING_FLAGS.values():
        raise ConfigError(
            f"{folder}: pools by {', '.join(chosen) or 'nothing known'}; only mean, cls and last are known"
        )
    return chosen[0]


def unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors scaled to length 1; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
