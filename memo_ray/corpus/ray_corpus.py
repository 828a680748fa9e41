"""The corpus stage on Ray Data: files in; the tables documents, chunks, groups, questions and rejects out.

The driver lists files and writes tables; tasks all over the cluster read, parse, chunk and hash. Rows come back in
corpus order and are written as they come, so neither side ever holds the whole text, and the tables do not depend
on how many tasks ran.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data

from memo_ray.artifacts.store import Attempt
from memo_ray.artifacts.tables import schema_of, to_table
from memo_ray.config.corpus import CorpusConfig
from memo_ray.corpus.assembly import Assembly, Prepared, prepare
from memo_ray.corpus.chunking import Span
from memo_ray.corpus.communities import chunk_texts
from memo_ray.corpus.loaders import list_files
from memo_ray.corpus.questions import check_questions, load_questions
from memo_ray.corpus.reading import Unit, plan_units, read_unit
from memo_ray.rows import Chunk, Document, Group, Question, Reject

BLOCK_BYTES = 16 * 2**20
"""Size of the pieces in which text travels from a task to the driver."""
ROW_GROUP_CHARACTERS = 8 * 2**20
"""Text of one Parquet row group, and so the most that a writer holds back."""

SPANS = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64()), ("words", pa.int64())]))
READ_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("document_id", "title", "text", "label", "source", "digest", "reason", "detail")]
    + [("licence", pa.string()), ("words", pa.int64()), ("spans", SPANS)]
)
"""What a task sends back: a document with its chunks' offsets, or, with a `reason`, a reject."""


def build_corpus(config: CorpusConfig, attempt: Attempt) -> None:
    """Write the tables `documents`, `chunks`, `groups`, `questions` and `rejects` and the facts of a corpus.

    Rows are in the order of the files, then of the rows in a file, then of the chunks in a document. Ray must be
    initialised, and every node must see the files under the same paths. Raises CorpusError as `list_files`,
    `Assembly.finish` and the questions' checks do.
    """
    listing = list_files(config)
    asked, unused = load_questions(config.questions) if config.questions is not None else ([], [])
    asked = [question for question in asked if not set(config.forget) & set(question.document_ids)]
    with TableWriter(attempt, "documents", Document) as documents, TableWriter(attempt, "chunks", Chunk) as chunks:
        assembly = Assembly(config, listing, documents, chunks)
        for item in read_all(plan_units(listing.files), config):
            assembly.add(item)
    groups, facts = assembly.finish(partial(chunk_texts, attempt.folder / "chunks.parquet"))
    questions, rejects = check_questions(asked, assembly.known, config.questions or "") if asked else ([], [])
    attempt.write("groups", groups, Group)
    attempt.write("questions", questions, Question)
    attempt.write("rejects", assembly.rejects + rejects, Reject)
    attempt.facts.update(facts, questions=len(questions), unused_question_keys=unused)
    attempt.facts["question_rejects"] = len(rejects)


def read_all(packs: list[list[Unit]], config: CorpusConfig) -> Iterator[Prepared | Reject]:
    """Every document and reject of the packs, in their order; one Ray task reads a pack at a time."""
    items = [{"units": json.dumps([asdict(unit) for unit in pack])} for pack in packs]
    dataset = ray.data.from_items(items, override_num_blocks=len(items))
    dataset.context.execution_options.preserve_order = True
    dataset.context.target_max_block_size = BLOCK_BYTES
    task = partial(read_pack, config=config)
    read = dataset.map_batches(task, batch_size=1, batch_format="pyarrow", zero_copy_batch=True)
    for batch in read.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
        for row in cast(pa.Table, batch).to_pylist():
            yield from_read(row)


def read_pack(batch: pa.Table, config: CorpusConfig) -> Iterator[pa.Table]:
    """The task: one row of units in, tables of READ_SCHEMA of about BLOCK_BYTES out."""
    rows: list[dict[str, Any]] = []
    characters = 0
    for units in batch["units"].to_pylist():
        for unit in json.loads(units):
            for item in read_unit(Unit(**unit), config):
                rows.append(to_read(item, config))
                characters += len(rows[-1]["text"])
                if characters >= BLOCK_BYTES:
                    yield pa.Table.from_pylist(rows, schema=READ_SCHEMA)
                    rows, characters = [], 0
    yield pa.Table.from_pylist(rows, schema=READ_SCHEMA)


def to_read(item: Document | Reject, config: CorpusConfig) -> dict[str, Any]:
    """One row of READ_SCHEMA."""
    if isinstance(item, Reject):
        empty = {"title": "", "text": "", "label": "", "source": "", "digest": "", "words": 0, "spans": []}
        return {"document_id": item.row_id, "reason": item.reason, "detail": item.detail, "licence": "", **empty}
    ready = prepare(item, config)
    spans = [asdict(span) for span in ready.spans]
    return {**asdict(item), "digest": ready.digest, "words": ready.words, "spans": spans, "reason": "", "detail": ""}


def from_read(row: dict[str, Any]) -> Prepared | Reject:
    """The inverse of `to_read`, on the driver."""
    if row["reason"]:
        return Reject(row["document_id"], "corpus", "documents", row["reason"], row["detail"])
    document = Document(row["document_id"], row["title"], row["text"], row["label"], row["source"], row["licence"])
    return Prepared(document, row["words"], row["digest"], [Span(**span) for span in row["spans"]])


class TableWriter:
    """Writes one table of an attempt row by row; `append` holds back at most a row group."""

    def __init__(self, attempt: Attempt, table: str, kind: type) -> None:
        self._attempt, self._table, self._kind = attempt, table, kind
        self._held: list[Any] = []
        self._characters = 0
        self._rows = 0

    def __enter__(self) -> TableWriter:
        path = self._attempt.folder / f"{self._table}.parquet"
        self._writer = pq.ParquetWriter(path, schema_of(self._kind), compression="zstd")
        return self

    def append(self, row: Any, /) -> None:
        """Write one row, with others in a batch."""
        self._held.append(row)
        self._characters += len(row.text)
        if self._characters >= ROW_GROUP_CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        if self._held:
            self._writer.write_table(to_table(self._held, self._kind))
        self._rows += len(self._held)
        self._held, self._characters = [], 0

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
            self._attempt.rows[self._table] = self._rows
        self._writer.close()
