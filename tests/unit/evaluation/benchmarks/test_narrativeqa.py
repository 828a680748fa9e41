from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from memo_ray.config.benchmarks import NarrativeQA
from memo_ray.corpus.questions import CSV_LONGEST_CELL
from memo_ray.errors import CorpusError
from memo_ray.evaluation.benchmarks.narrativeqa import load

Shared = Callable[[str], Path]
DOCUMENT_COLUMNS = ("document_id", "set", "kind", "story_url", "wiki_title", "story_start", "story_end")
QUESTION_COLUMNS = ("document_id", "set", "question", "answer1", "answer2")


def write(folder: Path, documents: list[tuple[str, ...]], questions: list[tuple[str, ...]]) -> Path:
    for name, columns, rows in (
        ("documents.csv", DOCUMENT_COLUMNS, documents),
        ("qaps.csv", QUESTION_COLUMNS, questions),
    ):
        with (folder / name).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([columns, *rows])
    (folder / "tmp").mkdir(exist_ok=True)
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    documents = [
        ("d1", "valid", "gutenberg", "", "First", "IT BEGAN", "THE END"),
        ("d2", "valid", "movie", "", "Second", "", ""),
        ("d3", "test", "movie", "", "Third", "", ""),
        ("d4", "valid", "movie", "", "No story", "", ""),
        ("d5", "valid", "movie", "", "Broken", "", ""),
    ]
    questions = [
        ("d1", "valid", "Who, then?", "Ann", "She"),
        ("d2", "valid", "Who, then?", "Bob", ""),
        ("d1", "valid", "Where?", "", ""),
        ("d1", "valid", "who, then? ", "Ann", ""),
        ("d3", "test", "Why?", "Because", ""),
    ]
    folder = write(tmp_path, documents, questions)
    (folder / "tmp" / "d1.content").write_text("licence IT BEGAN by the sea THE END licence")
    (folder / "tmp" / "d2.content").write_text("<html><body><p>Bob walks in.</p></body></html>")
    (folder / "tmp" / "d3.content").write_text("third")
    (folder / "tmp" / "d5.content").write_bytes(b"caf\xe9")
    return folder


def test_stories_between_their_marks_and_questions_with_both_answers(small: Path) -> None:
    loaded = load(NarrativeQA(kind="narrativeqa", path=str(small)), "b")
    assert [row.text for row in loaded.documents] == ["IT BEGAN by the sea THE END", "Bob walks in."]
    assert [(row.question_id, row.answers, row.document_ids) for row in loaded.questions] == [
        ("d1#0", ["Ann", "She"], ["d1"]),
        ("d2#0", ["Bob"], ["d2"]),
    ]
    assert sorted((row.row_id, row.reason) for row in loaded.rejects) == [
        ("d1#1", "no_answer"), ("d1#2", "duplicate"), ("d5", "not_utf8"),
    ]  # fmt: skip


def test_named_documents_and_another_set(small: Path) -> None:
    ids = small / "ids.json"
    ids.write_text('["d3", "d4"]')
    loaded = load(NarrativeQA(kind="narrativeqa", path=str(small), document_ids=str(ids)), "b")
    assert [row.document_id for row in loaded.documents] == ["d3"]
    assert [(row.row_id, row.reason) for row in loaded.rejects] == [("d4", "unknown_document")]
    assert [
        row.document_id for row in load(NarrativeQA(kind="narrativeqa", path=str(small), set="test"), "b").documents
    ] == ["d3"]


def test_files_that_are_not_there_or_not_narrativeqas(small: Path, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"b\.path: is not on a hub in its original form; get it from https"):
        load(NarrativeQA(kind="narrativeqa"), "b")
    with pytest.raises(CorpusError, match="no document of the set train has a story"):
        load(NarrativeQA(kind="narrativeqa", path=str(small), set="train"), "b")
    (small / "qaps.csv").write_text(f"document_id,question,answer1\nd1,{'x' * (CSV_LONGEST_CELL + 1)},y\n")
    with pytest.raises(CorpusError, match=r"qaps\.csv: is not CSV \(field larger than field limit"):
        load(NarrativeQA(kind="narrativeqa", path=str(small)), "b")
    (small / "qaps.csv").write_text("question\nWho?\n")
    with pytest.raises(CorpusError, match=r"qaps\.csv: has no column document_id, answer1"):
        load(NarrativeQA(kind="narrativeqa", path=str(small)), "b")


def test_real_books_in_the_original_form(shared: Shared, tmp_path: Path) -> None:
    books = [
        json.loads(line) for line in gzip.decompress(shared("narrativeqa/documents.jsonl.gz").read_bytes()).splitlines()
    ]
    asked = [json.loads(line) for line in shared("narrativeqa/questions.jsonl").read_text().splitlines()]
    write(
        tmp_path,
        [(row["document_id"], "valid", "gutenberg", "", row["title"], "", "") for row in books],
        [(row["document_id"], "valid", row["question"], *row["answers"][:2]) for row in asked],
    )
    for row in books:
        (tmp_path / "tmp" / f"{row['document_id']}.content").write_text(row["text"], encoding="utf-8")
    (tmp_path / "three.json").write_text(json.dumps([row["document_id"] for row in books if "paper3" in row["sets"]]))
    three = NarrativeQA(kind="narrativeqa", path=str(tmp_path), document_ids=str(tmp_path / "three.json"))
    assert len(load(three, "b").questions) == 89
    everything = load(NarrativeQA(kind="narrativeqa", path=str(tmp_path)), "b")
    assert len(everything.documents) == 10
    assert len(everything.questions) + len(everything.rejects) == 295
