"""Lines, rows and files to documents; every bad one a reject that says where."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memo_ray.config.corpus import CorpusConfig
from memo_ray.corpus.loaders import SourceFile, list_files
from memo_ray.corpus.reading import BROKEN_TABLE, PACK_UNITS, plan_units, read_unit
from memo_ray.rows import Document, Reject


def read(path: Path, split_bytes: int = 2**20, **settings: Any) -> list[Document | Reject]:
    config = CorpusConfig(paths=(str(path),), **settings)
    packs = plan_units(list_files(config).files, split_bytes)
    return [item for pack in packs for unit in pack for item in read_unit(unit, config)]


def documents(path: Path, **settings: Any) -> list[Document]:
    items = read(path, **settings)
    assert not [item for item in items if isinstance(item, Reject)]
    return [item for item in items if isinstance(item, Document)]


def reject(path: Path, **settings: Any) -> Reject:
    (found,) = [item for item in read(path, **settings) if isinstance(item, Reject)]
    return found


def lines(path: Path, *rows: Any) -> Path:
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))
    return path


class TestFiles:
    def test_a_heading_or_the_name_is_the_title(self, tmp_path: Path) -> None:
        (tmp_path / "bell-law.md").write_text("# The Bell Law\n\nRing.")
        (tmp_path / "hat_of-huldres.txt").write_text("Once upon a time.")
        assert [(doc.document_id, doc.title, doc.source) for doc in documents(tmp_path)] == [
            ("bell-law", "The Bell Law", "bell-law.md"),
            ("hat_of-huldres", "hat of huldres", "hat_of-huldres.txt"),
        ]

    def test_a_bad_file_is_a_reject_with_its_name(self, tmp_path: Path) -> None:
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "bad.txt").write_bytes(b"ok\ncaf\xe9")
        found = reject(tmp_path)
        assert (found.row_id, found.stage, found.step, found.reason) == ("sub/bad", "corpus", "documents", "not_utf8")
        assert found.detail.startswith("sub/bad.txt: is not UTF-8 text (byte 0xe9 in line 2)")

    def test_a_file_that_is_gone_by_now_is_a_reject(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("text")
        config = CorpusConfig(paths=(str(tmp_path),))
        (unit,) = plan_units(list_files(config).files)[0]
        os.unlink(tmp_path / "a.txt")
        (found,) = read_unit(unit, config)
        assert isinstance(found, Reject) and found.reason == "unreadable" and "No such file" in found.detail


class TestLines:
    def test_rows_are_named_by_file_and_line(self, tmp_path: Path) -> None:
        path = lines(tmp_path / "tales.jsonl", {"text": "one"}, b"", {"text": "two\r\nlines "}, b"  ")
        assert [(doc.document_id, doc.text, doc.source) for doc in documents(path)] == [
            ("tales#1", "one", "tales.jsonl:1"),
            ("tales#3", "two\nlines", "tales.jsonl:3"),
        ]

    def test_columns(self, tmp_path: Path) -> None:
        row = {"key": 7, "name": " The\nLaw ", "kind": "law", "body": "Ring."}
        settings = {"text_column": "body", "id_column": "key", "title_column": "name", "label_column": "kind"}
        (doc,) = documents(lines(tmp_path / "a.jsonl", row), **settings)
        assert (doc.document_id, doc.title, doc.label, doc.text) == ("7", "The Law", "law", "Ring.")

    def test_without_a_title_column_only_an_opening_heading_is_a_title(self, tmp_path: Path) -> None:
        found = documents(lines(tmp_path / "a.jsonl", {"text": "# Law\nRing."}, {"text": "x\n# Law"}, {"text": "y"}))
        assert [doc.title for doc in found] == ["Law", "", ""]

    def test_a_byte_order_mark_is_ignored(self, tmp_path: Path) -> None:
        assert documents(lines(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"text": "one"}'))[0].text == "one"

    @pytest.mark.parametrize(
        ("line", "reason", "says"),
        [
            (b'{"text": "x"', "not_json", "is not JSON at character 13"),
            (b"[1, 2]", "not_json", "is not a JSON object"),
            (b"[" * 100_000, "not_json", "cannot be read"),
            (b'{"text": ' + b"9" * 5000 + b"}", "not_json", "cannot be read"),
            (b'{"body": "x", "id": 1}', "no_column", "has no text; set text_column to one of its keys: body, id"),
            (b'{"text": 3}', "not_text", "holds int, not text"),
            (b'{"text": null}', "empty", "holds no text"),
            (b'{"text": "  "}', "empty", "holds no text"),
            (b'{"text": "a\\u0000b"}', "binary", "NUL"),
            (b'{"text": "a\\ud800b"}', "not_utf8", "surrogate"),
            (b'{"text": "caf\xe9"}', "not_utf8", "byte 0xe9"),
        ],
    )
    def test_a_bad_line_is_a_reject_with_its_place(self, tmp_path: Path, line: bytes, reason: str, says: str) -> None:
        path = lines(tmp_path / "a.jsonl", {"text": "one"}, line, {"text": "three"})
        found = reject(path)
        assert (found.row_id, found.reason) == ("a#2", reason)
        assert found.detail.startswith("a.jsonl:2: ") and says in found.detail
        assert len(read(path)) == 3

    @pytest.mark.parametrize(
        ("row", "reason"),
        [({"text": "x"}, "no_id"), ({"text": "x", "id": ""}, "no_id"), ({"text": "x", "id": [1]}, "not_text")],
    )
    def test_a_row_without_a_usable_id(self, tmp_path: Path, row: dict[str, Any], reason: str) -> None:
        assert reject(lines(tmp_path / "a.jsonl", row), id_column="id").reason == reason

    @pytest.mark.parametrize("end", [b"", b"\n"])
    @pytest.mark.parametrize("split_bytes", [1, 1000, 10**6, 1500_000])
    def test_pieces_of_a_large_file_give_the_same_rows_as_the_whole(
        self, tmp_path: Path, end: bytes, split_bytes: int
    ) -> None:
        rows = [{"text": f"{n} " + "x" * (n % 7) * 5000} for n in range(300)]
        path = lines(tmp_path / "a.jsonl", *rows, b"not json", {"text": "last"})
        path.write_bytes(path.read_bytes() + end)
        whole = read(path, split_bytes=2**30)
        assert read(path, split_bytes=split_bytes) == whole
        assert isinstance(whole[300], Reject) and whole[300].row_id == "a#301"


class TestParquet:
    def table(self, path: Path, rows: int = 5, group: int = 2, **columns: list[Any]) -> Path:
        columns = columns or {"text": [f"text {n}" for n in range(rows)], "title": [f"T{n}" for n in range(rows)]}
        pq.write_table(pa.table(columns), path, row_group_size=group)
        return path

    def test_rows_are_named_by_file_and_row(self, tmp_path: Path) -> None:
        found = documents(self.table(tmp_path / "a.parquet"), title_column="title")
        assert [(doc.document_id, doc.title, doc.source) for doc in found][-1] == ("a#5", "T4", "a.parquet:5")

    def test_pieces_give_the_same_rows_as_the_whole(self, tmp_path: Path) -> None:
        path = self.table(tmp_path / "a.parquet", rows=300, group=7)
        assert read(path, split_bytes=1) == read(path, split_bytes=1000) == read(path, split_bytes=2**30)
        config = CorpusConfig(paths=(str(path),))
        assert sum(map(len, plan_units(list_files(config).files, split_bytes=1))) == 43

    def test_bad_cells_are_rejects(self, tmp_path: Path) -> None:
        found = read(self.table(tmp_path / "a.parquet", text=["one", None, "three"]))
        assert [getattr(item, "reason", "") for item in found] == ["", "empty", ""]
        bad = pa.array([b"one", b"caf\xe9"]).view(pa.string())
        pq.write_table(pa.table({"text": bad}), tmp_path / "b.parquet")
        assert reject(tmp_path / "b.parquet").reason == "not_utf8"

    def test_numbers_are_not_text(self, tmp_path: Path) -> None:
        found = read(self.table(tmp_path / "a.parquet", text=[1, 2]))
        assert [getattr(item, "reason", "") for item in found] == ["not_text", "not_text"]

    @pytest.mark.parametrize("text_column", ["body", "text"])
    def test_a_missing_column_or_a_broken_file_is_a_broken_table(self, tmp_path: Path, text_column: str) -> None:
        path = self.table(tmp_path / "a.parquet")
        if text_column == "text":
            path.write_bytes(path.read_bytes()[:-9])
        found = reject(path, text_column=text_column)
        assert found.reason == BROKEN_TABLE and found.row_id == "a"
        assert ("set text_column to one of text, title" in found.detail) == (text_column == "body")


def test_small_files_are_packed_in_order(tmp_path: Path) -> None:
    files = [SourceFile(tmp_path / f"{n}.txt", "", f"{n}.txt", str(n), 10) for n in range(PACK_UNITS + 10)]
    packs = plan_units(files)
    assert [len(pack) for pack in packs] == [PACK_UNITS, 10]
    assert [unit.document_id for pack in packs for unit in pack] == [file.document_id for file in files]


def test_a_large_file_has_a_pack_of_its_own(tmp_path: Path) -> None:
    sizes = [10, 20 * 2**20, 10, 10]
    files = [SourceFile(tmp_path / f"{n}.txt", "", f"{n}.txt", str(n), size) for n, size in enumerate(sizes)]
    assert [len(pack) for pack in plan_units(files)] == [1, 1, 2]
