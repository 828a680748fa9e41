"""Cartridges as a system: the executive answers over the trained cache of the question's own documents.

Which cache to load is told by the question's evidence, since a cache cannot be searched; the answer's note says so.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path

from memo_ray.artifacts.place import local_copy
from memo_ray.config.comparison import Reader
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.evaluation.systems.meter import seed_of
from memo_ray.evaluation.systems.reading import request
from memo_ray.evaluation.systems.system import Corpus, Cost, Failed, Query, Said
from memo_ray.models.cartridge import CartridgeModel, folder_of
from memo_ray.protocol.quoting import clean

NOTE = "the cache of its own evidence was loaded"


class CartridgeSystem:
    """One model, and an adapter for each document below `adapters`."""

    def __init__(self, name: str, base: Path, adapters: str, reader: Reader, key: str) -> None:
        """Raises ConfigError when there is no such folder; `key` is named in errors."""
        self.name = name
        self._folder = local_copy(adapters)
        if not self._folder.is_dir():
            raise ConfigError(f"{key}.adapters: {adapters}: no such folder; train cartridges first")
        self._model = CartridgeModel(base)
        self._reader = reader

    async def prepare(self, corpus: Corpus, folder: Path) -> Cost:
        """Raises ConfigError when no document of the corpus has an adapter."""
        if not any(folder_of(self._folder, row.document_id).is_dir() for row in corpus.documents):
            raise ConfigError(f"{self._folder}: has no adapter of a document of corpus {corpus.name}")
        return Cost()

    async def answer(self, queries: Sequence[Query], seed: int) -> AsyncIterator[Said | Failed]:
        """One question after the other: a loaded cache serves one."""
        for query in queries:
            adapters = [folder_of(self._folder, name) for name in query.evidence]
            if not adapters or not all(folder.is_dir() for folder in adapters):
                yield Failed(query.question_id, "no_cartridge", "its evidence has no adapter")
                continue
            asked = request(query, [], self._reader)
            clock = time.perf_counter()
            try:
                reply = await self._model.chat(replace(asked, seed=seed_of(seed, asked)), adapters)
            except GenerationError as error:
                yield Failed(query.question_id, "generation_error", str(error))
                continue
            tokens = {self._model.name: (reply.input_tokens, reply.output_tokens)}
            cost = Cost(time.perf_counter() - clock, 1, tokens)
            yield Said(query.question_id, clean(reply.text), cost, list(query.evidence), NOTE)

    async def close(self) -> None:
        """Free the model."""
        await self._model.close()
