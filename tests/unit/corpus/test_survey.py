"""A look at documents before a run: counts, columns, questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memo_ray.corpus import survey as module
from memo_ray.corpus.survey import Columns, count_rows, find_questions, guess_columns, survey
from memo_ray.errors import CorpusError

ROOT = Path(__file__).resolve().parents[3]
TALES = ROOT.parent / "shared" / "data" / "fairytales" / "docs"


def lines(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


def test_files_are_counted_and_measured(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one two three")
    (tmp_path / "b.md").write_text("word " * 300)
    (tmp_path / "c.md").write_bytes(b"\xff\xff")
    (tmp_path / "d.png").write_bytes(b"")
    seen = survey(tmp_path)
    assert (seen.formats, seen.skipped) == ({".md": 2, ".txt": 1}, {".png": 1})
    assert (seen.documents, seen.unreadable, seen.exact) == (3, 1, True)
    assert (seen.words, seen.median_words, seen.longest_words, seen.short_share) == (303, 3, 300, 0.5)
    assert seen.columns == Columns()


def test_when_nothing_can_be_read_the_first_reason_is_given(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(CorpusError, match=r"none of the documents .* for example .*/a\.txt: is not UTF-8 text"):
        survey(tmp_path)


def test_rows_are_counted_in_full_and_measured_by_sample(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", *({"id": n, "title": f"T{n}", "body": "word " * 10} for n in range(500)))
    seen = survey(tmp_path / "a.jsonl")
    assert (seen.documents, seen.words, seen.exact) == (500, 5000, False)
    assert seen.columns == Columns("body", "id", "title")


def test_many_files_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLED_FILES", 10)
    for n in range(100):
        (tmp_path / f"{n:03}.txt").write_text("word " * (10 if n < 50 else 20))
    seen = survey(tmp_path)
    assert (seen.documents, seen.words, seen.exact) == (100, 1500, False)


def test_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"_id": ["a", "b"], "passage": ["one two", "three"]}), tmp_path / "a.parquet")
    seen = survey(tmp_path)
    assert (seen.documents, seen.words, seen.columns) == (2, 3, Columns("passage", "_id", None))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 broken")
    assert count_rows(tmp_path / "a.parquet") == 0
    with pytest.raises(CorpusError, match="none of the documents looked at can be read"):
        survey(tmp_path)


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        ([{"x": "short", "story": "the longest column of all", "id": 1}], Columns("story", "id", None)),
        ([{"text": "a", "id": 1}, {"text": "b", "id": 1}], Columns("text", None, None)),
        ([{"text": "a", "id": 1}, {"text": "b"}], Columns("text", None, None)),
        ([{"text": 3, "content": "c", "title": ""}, {}], Columns("content", None, None)),
        ([{}], Columns()),
    ],
)
def test_columns_are_guessed(rows: list[dict[str, Any]], columns: Columns) -> None:
    assert guess_columns(rows) == columns


class TestQuestions:
    QUESTION = {"question": "Who?", "answers": ["Ann"]}

    def test_in_or_beside_the_folder_or_beside_the_file(self, tmp_path: Path) -> None:
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "a.txt").write_text("text")
        assert find_questions(tmp_path / "docs") == (None, "")
        beside = lines(tmp_path / "questions.jsonl", self.QUESTION)
        assert find_questions(tmp_path / "docs") == (str(beside), "")
        inside = lines(tmp_path / "docs" / "qa.jsonl", self.QUESTION)
        assert find_questions(tmp_path / "docs") == find_questions(tmp_path / "docs" / "a.txt") == (str(inside), "")
        seen = survey(tmp_path / "docs")
        assert (seen.questions, seen.documents) == (str(inside), 1)

    def test_a_file_that_cannot_be_read_is_named_with_its_mistake(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("text")
        lines(tmp_path / "questions.jsonl", {"question": "Who?"})
        found, problem = find_questions(tmp_path)
        assert found is None and "questions.jsonl:1: answers must be a list" in problem

    def test_questions_about_other_documents_are_left_out(self, tmp_path: Path) -> None:
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "a.txt").write_text("text")
        lines(tmp_path / "questions.jsonl", {**self.QUESTION, "document_ids": ["b"]})
        seen = survey(tmp_path / "docs")
        assert seen.questions is None and "holds no document b" in seen.questions_problem


def test_the_demos_documents() -> None:
    seen = survey(ROOT / "demo" / "documents")
    assert seen.documents == 12 and seen.exact and not seen.unreadable
    assert seen.questions == str(ROOT / "demo" / "questions.jsonl")


@pytest.mark.skipif(not TALES.is_dir(), reason="the fairy tales are not beside this checkout")
def test_fairy_tales() -> None:
    seen = survey(TALES)
    assert (seen.documents, seen.words, seen.longest_words, seen.formats) == (8, 4744, 1049, {".txt": 8})
    assert seen.questions == str(TALES.parent / "qa.jsonl")
