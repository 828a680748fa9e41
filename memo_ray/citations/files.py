"""Reads the tables of one or several corpora into what is asked of them: a Ledger, a retriever, a Shelf."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict

from memo_ray.artifacts.tables import read_rows
from memo_ray.citations.calibration import calibrate
from memo_ray.citations.ledger import Embedder, Ledger
from memo_ray.citations.passages import ChunkRetriever
from memo_ray.citations.shelf import Shelf
from memo_ray.errors import ConfigError
from memo_ray.rows import Answer, Chunk, LedgerEntry, Reflection

Row = TypeVar("Row")


class LedgerFiles(BaseModel):
    """Parquet files of one corpus, as paths or `s3://` addresses: of its synthesis, and its corpus's chunks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reflections: str
    ledger: str
    chunks: str
    answers: str = ""
    """An evaluation's answers, which say what is recalled of each document; empty: that is not known."""
    system: str = ""
    """Whose answers of those count: the memory's name among the evaluation's systems."""


@dataclass(frozen=True)
class Tables:
    """The rows of the tables of some corpora."""

    reflections: list[Reflection]
    entries: list[LedgerEntry]
    chunks: list[Chunk]
    answers: list[Answer]

    @classmethod
    def read(cls, files: Sequence[LedgerFiles]) -> Self:
        """All rows of these corpora. Raises ConfigError naming a file."""
        evaluations = dict.fromkeys((one.answers, one.system) for one in files if one.answers)
        return cls(
            [row for one in files for row in rows_of(one.reflections, Reflection)],
            [row for one in files for row in rows_of(one.ledger, LedgerEntry)],
            [row for one in files for row in rows_of(one.chunks, Chunk)],
            [row for path, system in evaluations for row in rows_of(path, Answer) if row.system == system],
        )

    def ledger(self, embedder: Embedder | None = None) -> Ledger:
        """The ledger of these corpora, its threshold chosen on their held-out rows."""
        ledger = Ledger(self.reflections, self.entries, self.chunks, embedder=embedder)
        ledger.calibration = calibrate(ledger, [row for row in self.reflections if row.split == "held_out"])
        return ledger

    def shelf(self) -> Shelf:
        """The documents of these corpora, to look through."""
        return Shelf(self.reflections, self.entries, self.chunks, self.answers)


def load_retriever(files: Sequence[LedgerFiles], passage_chars: int) -> ChunkRetriever:
    """A retriever over the chunks of these corpora. Raises ConfigError for a missing file."""
    return ChunkRetriever([row for one in files for row in rows_of(one.chunks, Chunk)], passage_chars)


def rows_of(path: str, kind: type[Row]) -> list[Row]:
    """The rows of a table. Raises ConfigError naming the file."""
    try:
        return read_rows(path, kind)
    except OSError as error:
        reason = error.strerror or "no Parquet file"
        raise ConfigError(f"{path}: cannot be read ({reason}); name a table that this node reaches") from None
