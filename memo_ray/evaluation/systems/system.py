"""What a system under test is: it prepares itself on a corpus once, then answers batches of questions.

Every system gives `Said` rows for what it answered and `Reject` rows for what it could not; it raises only what
ends all its questions.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from memo_ray.rows import Chunk, Document


@dataclass(frozen=True, slots=True)
class Corpus:
    """What systems may read. `digest`: of its contents, so that an index is found again."""

    name: str
    digest: str
    documents: list[Document]
    chunks: list[Chunk]


@dataclass(frozen=True, slots=True)
class Query:
    """A question with its evidence, which only Perfect Retrieval may look at; any of `references` is right."""

    question_id: str
    kind: str
    question: str
    references: list[str]
    evidence: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cost:
    """What was spent. `tokens`: by model name, (input, output). `seconds` is wall time.

    `device_seconds`: seconds of our own devices, several at once counted each; None: `seconds`, where a model of
    `tokens` runs on them.
    """

    seconds: float = 0.0
    calls: int = 0
    tokens: dict[str, tuple[int, int]] = field(default_factory=dict)
    device_seconds: float | None = None

    @property
    def input_tokens(self) -> int:
        """Prompt tokens of all models."""
        return sum(read for read, _ in self.tokens.values())

    @property
    def output_tokens(self) -> int:
        """Generated tokens of all models."""
        return sum(written for _, written in self.tokens.values())


def added(first: Mapping[str, tuple[int, int]], second: Mapping[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """Tokens by model name of both; two of one name are added up."""
    total = dict(first)
    for name, (read, written) in second.items():
        before = total.get(name, (0, 0))
        total[name] = (before[0] + read, before[1] + written)
    return total


@dataclass(frozen=True, slots=True)
class Said:
    """An answer. `retrieved`: document ids, best first. `note`: what was cut or left out, for the report."""

    question_id: str
    answer: str
    cost: Cost
    retrieved: list[str] = field(default_factory=list)
    note: str = ""
    transcript: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Failed:
    """A question that could not be answered: neither right nor wrong."""

    question_id: str
    reason: str
    detail: str


class System(Protocol):
    """A way of answering questions about a corpus."""

    name: str

    async def prepare(self, corpus: Corpus, folder: Path) -> Cost:
        """Index or load. `folder` keeps what a later run can use again. Raises GenerationError, ConfigError."""
        ...

    def answer(self, queries: Sequence[Query], seed: int) -> AsyncIterator[Said | Failed]:
        """Each question's answer as soon as it is there, in any order."""
        ...

    async def close(self) -> None:
        """Free what the system holds."""
        ...
