"""Every row class survives Parquet, with exactly its columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from memo_ray import rows
from memo_ray.artifacts import tables
from memo_ray.artifacts.tables import read_rows, schema_of, write_rows

EXAMPLES: list[Any] = [
    rows.Document("d", "Title", "Text with é and\nlines", "label", "a.md"),
    rows.Chunk("c", "d", 0, "Title", "Text", 1, 0, 4, ""),
    rows.Group("g", "document", ["c", "d"]),
    rows.Reflection("r", "Who?", "Her.", "direct", "train"),
    rows.LedgerEntry("r", "direct", ["c"], ["d"], "", [], "p", "model", 7),
    rows.Reject("x", "synthesis", "direct", "unparsed", "why"),
    rows.Question("q", "Who?", ["A", "B"], 2, ["d"]),
    rows.Answer("q", "base", "one_hop", "Who?", ["A"], "A", True, 1.0, True, 0.5, 10, 2),
    rows.Transcript("q", "memo", "Who?", "A", "because", '{"event": "Asked"}'),
]


@pytest.mark.parametrize("row", EXAMPLES, ids=lambda row: type(row).__name__)
def test_rows_survive_parquet(tmp_path: Path, row: Any) -> None:
    path = tmp_path / "table.parquet"
    assert write_rows(path, [row, row], type(row)) == 2
    assert read_rows(path, type(row)) == [row, row]
    assert pq.read_schema(path).names == schema_of(type(row)).names


def test_more_rows_than_are_held_at_once_stay_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 2)
    groups = [rows.Group(str(number), "document", [str(number)]) for number in range(5)]
    assert write_rows(tmp_path / "table.parquet", iter(groups), rows.Group) == 5
    assert read_rows(tmp_path / "table.parquet", rows.Group) == groups


def test_a_text_that_is_not_wanted_is_left_empty(tmp_path: Path) -> None:
    document = rows.Document("d", "Title", "A long text.", "label", "a.md")
    write_rows(tmp_path / "table.parquet", [document], rows.Document)
    (read,) = read_rows(tmp_path / "table.parquet", rows.Document, without=("text",))
    assert read == replace(document, text="")


def test_an_empty_table_keeps_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_rows(path, [], rows.Chunk)
    assert read_rows(path, rows.Chunk) == []
    assert pq.read_schema(path).names[:2] == ["chunk_id", "document_id"]


def test_content_ids_depend_on_every_part_and_on_where_it_ends() -> None:
    assert rows.content_id("a", "b") == rows.content_id("a", "b")
    assert len({rows.content_id("a", "b"), rows.content_id("ab"), rows.content_id("b", "a"), rows.content_id("a")}) == 4
