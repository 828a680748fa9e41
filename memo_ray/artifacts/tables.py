"""Row dataclasses to Arrow tables and Parquet files and back; the schema comes from the dataclass alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq

from memo_ray.artifacts.place import Location, open_file

Row = TypeVar("Row")
ROWS_AT_ONCE = 8192
"""Rows that are at one time both objects and columns, or both objects and dictionaries, which are larger."""

ARROW_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    list[str]: pa.list_(pa.string()),
    list[int]: pa.list_(pa.int64()),
}


def schema_of(kind: type) -> pa.Schema:
    """The Arrow schema of a row dataclass, columns in field order."""
    hints = get_type_hints(kind)
    return pa.schema([pa.field(field.name, ARROW_TYPES[hints[field.name]], nullable=False) for field in fields(kind)])


def to_table(rows: Iterable[Any], kind: type) -> pa.Table:
    """`rows` of dataclass `kind` as one Arrow table with exactly its columns."""
    schema = schema_of(kind)
    held = list(rows)
    return pa.table({name: [getattr(row, name) for row in held] for name in schema.names}, schema=schema)


def write_rows(path: Path, rows: Iterable[Any], kind: type) -> int:
    """Write `rows` to one Parquet file, one after the other; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    waiting, written = iter(rows), 0
    with pq.ParquetWriter(path, schema_of(kind), compression="zstd") as writer:
        while held := list(islice(waiting, ROWS_AT_ONCE)):
            writer.write_table(to_table(held, kind))
            written += len(held)
    return written


def read_rows(where: Location, kind: type[Row], without: tuple[str, ...] = ()) -> list[Row]:
    """Every row of the Parquet file at a path or an `s3://` address, as `kind`; texts `without` are left empty."""
    wanted = [name for name in schema_of(kind).names if name not in without]
    empty = dict.fromkeys(without, "")
    return [kind(**row, **empty) for row in iterate_rows(where, wanted)]


def iterate_rows(where: Location, columns: Sequence[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, of all columns or these, a few thousand in memory at a time.

    Not `pq.read_table`: its query engine's threads may still be at work when a short command ends, and then Arrow
    aborts the process, whose work was done.
    """
    with open_file(where) as opened, pq.ParquetFile(opened) as file:
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=columns):
            yield from batch.to_pylist()
