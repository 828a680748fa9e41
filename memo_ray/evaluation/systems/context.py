"""Systems that put text before the executive: nothing, the evidence, the whole corpus, or what a retriever finds."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from memo_ray.config.comparison import Reader
from memo_ray.evaluation.systems.batch import Pace, each
from memo_ray.evaluation.systems.reading import Passage, read
from memo_ray.evaluation.systems.system import Corpus, Cost, Failed, Query, Said, added
from memo_ray.models.chat import ChatModel


@dataclass(frozen=True, slots=True)
class Found:
    """The passages for a query, best first, and what finding them took of models. `tokens`: as in Cost."""

    passages: list[Passage]
    calls: int = 0
    tokens: dict[str, tuple[int, int]] = field(default_factory=dict)


class ContextSource(Protocol):
    """Where the text comes from. `fit`: what happens to text that does not fit, "drop" or "cut"."""

    fit: str

    async def prepare(self, corpus: Corpus, folder: Path) -> Cost:
        """Index or load."""
        ...

    async def find(self, queries: Sequence[Query]) -> list[Found | Failed]:
        """What there is for each query, or why there is nothing."""
        ...

    async def close(self) -> None:
        """Free what the source holds."""
        ...


class ContextSystem:
    """A source of text and the executive that reads it."""

    def __init__(self, name: str, source: ContextSource, executive: ChatModel, reader: Reader, pace: Pace) -> None:
        self.name = name
        self._source = source
        self._executive = executive
        self._reader = reader
        self._pace = pace

    async def prepare(self, corpus: Corpus, folder: Path) -> Cost:
        """What the source does."""
        return await self._source.prepare(corpus, folder)

    async def answer(self, queries: Sequence[Query], seed: int) -> AsyncIterator[Said | Failed]:
        """Find for all queries together, then read for each; the time of finding is shared by them."""
        clock = time.perf_counter()
        found = dict(zip((query.question_id for query in queries), await self._source.find(queries), strict=True))
        share = (time.perf_counter() - clock) / max(1, len(queries))

        async def work(query: Query) -> Said | Failed:
            there = found[query.question_id]
            if isinstance(there, Failed):
                return there
            said = await read(self._executive, self._reader, query, there.passages, seed, fit=self._source.fit)
            if isinstance(said, Failed):
                return said
            tokens = added(said.cost.tokens, there.tokens)
            cost = Cost(said.cost.seconds + share, said.cost.calls + there.calls, tokens)
            return Said(said.question_id, said.answer, cost, said.retrieved, said.note)

        async for outcome in each(queries, work, self._pace):
            yield outcome

    async def close(self) -> None:
        """What the source does; the executive belongs to the run."""
        await self._source.close()


class Nothing:
    """No Context. `made`: what the model that is asked cost by corpus, if it was made for them."""

    fit = "drop"

    def __init__(self, made: Mapping[str, Cost] | None = None) -> None:
        self._made = made or {}

    async def prepare(self, corpus: Corpus, folder: Path) -> Cost:
        """Nothing to do."""
        return self._made.get(corpus.name, Cost())

    async def find(self, queries: Sequence[Query]) -> list[Found | Failed]:
        """Nothing."""
        return [Found([]) for _ in queries]

    async def close(self) -> None:
        """Nothing."""


class Evidence(Nothing):
    """Perfect Retrieval: the whole evidence documents and nothing else."""

    fit = "cut"

    def __init__(self) -> None:
        super().__init__()
        self._documents: dict[str, Passage] = {}

    async def prepare(self, corpus: Corpus, folder: Path) -> Cost:
        """Keep the documents."""
        self._documents = {row.document_id: Passage(row.document_id, row.title, row.text) for row in corpus.documents}
        return Cost()

    async def find(self, queries: Sequence[Query]) -> list[Found | Failed]:
        """The evidence of each query; a query without any cannot be asked this way."""
        return [self._of(query) for query in queries]

    def _of(self, query: Query) -> Found | Failed:
        there = [self._documents[name] for name in query.evidence if name in self._documents]
        if not there:
            return Failed(query.question_id, "no_evidence", "the question names no evidence documents")
        return Found(there)


class WholeCorpus(Evidence):
    """In-context learning: every document, in the corpus's order."""

    def _of(self, query: Query) -> Found | Failed:
        return Found(list(self._documents.values()))
