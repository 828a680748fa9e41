"""Cartridges as a system: the executive answers over the trained cache of the question's own documents.

Which cache to load is told by the question's evidence, since a cache cannot be searched; the answer's note says so.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from memo_ray.artifacts.place import is_remote, local_copy
from memo_ray.config.comparison import Reader
from memo_ray.errors import ConfigError
from memo_ray.evaluation.systems.meter import seed_of
from memo_ray.evaluation.systems.reading import request
from memo_ray.evaluation.systems.system import Corpus, Cost, Failed, Query, Said
from memo_ray.models.cartridge import FACTS, folder_of
from memo_ray.models.sources import ModelSource
from memo_ray.protocol.quoting import clean

NOTE = "the cache of its own evidence was loaded"
FROM_TEXT = "{} of {} learned from its text alone, for want of reflections"


class CartridgeSystem:
    """One model, and an adapter for each document below `adapters`; a pass of Ray Data answers."""

    def __init__(self, name: str, base: ModelSource, adapters: str, reader: Reader, key: str) -> None:
        """Raises ConfigError when there is no such folder; `key` is named in errors."""
        self.name = name
        self._adapters = adapters
        self._folder = local_copy(adapters)
        if not self._folder.is_dir():
            raise ConfigError(f"{key}.adapters: {adapters}: no such folder; train cartridges first")
        self._facts = facts_in(self._folder)
        self._base = base
        self._reader = reader

    async def prepare(self, corpus: Corpus, folder: Path) -> Cost:
        """What training its adapters took, where that is known. Raises ConfigError when no document has one."""
        if not any(folder_of(self._folder, row.document_id).is_dir() for row in corpus.documents):
            raise ConfigError(f"{self._folder}: has no adapter of a document of corpus {corpus.name}")
        there = [self._facts[row.document_id] for row in corpus.documents if row.document_id in self._facts]
        seconds = sum(row["seconds"] for row in there)
        return Cost(seconds, device_seconds=seconds)

    async def answer(self, queries: Sequence[Query], seed: int) -> AsyncIterator[Said | Failed]:
        """One question at a time on each device: a loaded cache serves one."""
        from memo_ray.evaluation.systems.ray_cartridges import Over, replies

        asked: list[Over] = []
        for query in queries:
            if query.evidence and all(folder_of(self._folder, name).is_dir() for name in query.evidence):
                bare = request(query, [], self._reader)
                asked.append(Over(replace(bare, seed=seed_of(seed, bare)), query.evidence))
            else:
                yield Failed(query.question_id, "no_cartridge", "its evidence has no adapter")
        evidence = {row.request.request_id: list(row.documents) for row in asked}
        given = self._adapters if is_remote(self._adapters) else str(self._folder.absolute())
        async for made in replies(self._base.location, given, asked):
            if made.reply is None:
                yield Failed(made.request_id, "generation_error", made.problem)
                continue
            tokens = {self._base.path.name: (made.reply.input_tokens, made.reply.output_tokens)}
            cost = Cost(made.seconds, 1, tokens)
            loaded = evidence[made.request_id]
            yield Said(made.request_id, clean(made.reply.text), cost, loaded, self._note(loaded))

    async def close(self) -> None:
        """Nothing: the pool ends with its pass."""

    def _note(self, loaded: Sequence[str]) -> str:
        bare = sum(self._facts.get(name, {}).get("from_text", False) for name in loaded)
        return f"{NOTE}; {FROM_TEXT.format(bare, len(loaded))}" if bare else NOTE


def facts_in(folder: Path) -> dict[str, dict[str, Any]]:
    """What is known of the adapters in `folder`, by document; nothing where their maker left no facts."""
    kept = folder / FACTS
    return json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}


def from_text(adapters: str, corpus: Corpus) -> int:
    """How many of the corpus's documents have a cartridge that learned from their text alone."""
    facts = facts_in(local_copy(adapters))
    return sum(facts.get(row.document_id, {}).get("from_text", False) for row in corpus.documents)
