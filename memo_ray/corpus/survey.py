"""A quick look at documents before a run: how many, how long, in which columns. No Ray, and large sets are sampled.

Used by `memo init` to propose chunking, groups and columns; the corpus stage itself counts exactly.
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from memo_ray.config.corpus import CorpusConfig
from memo_ray.corpus.chunking import count_words
from memo_ray.corpus.formats import FORMATS, Unreadable, read_document
from memo_ray.corpus.loaders import SourceFile, list_files
from memo_ray.corpus.questions import check_questions, load_questions
from memo_ray.errors import CorpusError

SAMPLED_FILES = 400
SAMPLED_CONVERSIONS = 20
"""Converting a PDF takes a second or so, so fewer of them are looked into."""
SAMPLED_TABLES = 20
SAMPLED_ROWS = 200
SHORT_WORDS = 200
QUESTION_FILES = ("questions.jsonl", "qa.jsonl")
TEXT_COLUMNS = ("text", "content", "body", "document", "passage", "article")
ID_COLUMNS = ("id", "_id", "document_id", "doc_id", "docid")
TITLE_COLUMNS = ("title", "name", "headline")


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of row files hold what; `text` is the default where there are no row files."""

    text: str = "text"
    id: str | None = None
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What was seen. `words` is exact when `exact`, else extrapolated from a sample.

    `short_share`: the share of documents under 200 words. `unreadable`: sampled documents that would be rejects.
    """

    formats: dict[str, int]
    skipped: dict[str, int]
    documents: int
    words: int
    median_words: int
    longest_words: int
    short_share: float
    exact: bool
    unreadable: int
    columns: Columns
    questions: str | None
    questions_problem: str


def survey(documents: Path) -> Survey:
    """Look at the files below `documents`, or at the one file. Raises CorpusError when there is nothing to read."""
    questions, problem = find_questions(documents)
    listing = list_files(CorpusConfig(paths=(str(documents),), questions=questions))
    tables = [file for file in listing.files if _kind(file) in ("jsonl", "parquet")]
    singles = [file for file in listing.files if _kind(file) not in ("jsonl", "parquet")]
    rows = [row for file in _spread(tables, SAMPLED_TABLES) for row in sample_rows(file.path)]
    columns = guess_columns(rows)
    if questions is not None and not tables:
        questions, problem = _fitting(questions, singles)
    chosen = _sample(singles)
    lengths, problems = _lengths_of_files(chosen)
    rows_total = sum(count_rows(file.path) for file in tables)
    row_lengths = [count_words(text) for row in rows if isinstance(text := row.get(columns.text), str) and text.strip()]
    total = sum(lengths) * _scale(len(singles), len(chosen)) + sum(row_lengths) * _scale(rows_total, len(rows))
    together = lengths + row_lengths
    if not together:
        why = f", for example {problems[0]}" if problems else ""
        raise CorpusError(f"{documents}: none of the documents looked at can be read{why}; mend them or give others")
    return Survey(
        formats=dict(sorted(Counter(file.path.suffix.lower() for file in listing.files).items())),
        skipped=listing.skipped,
        documents=len(singles) + rows_total,
        words=round(total),
        median_words=statistics.median_low(together),
        longest_words=max(together),
        short_share=sum(length < SHORT_WORDS for length in together) / len(together),
        exact=len(chosen) == len(singles) and len(rows) == rows_total,
        unreadable=len(problems) + len(rows) - len(row_lengths),
        columns=columns,
        questions=questions,
        questions_problem=problem,
    )


def find_questions(documents: Path) -> tuple[str | None, str]:
    """A questions file in or beside the documents' folder, if one can be read; else why the one found cannot."""
    folder = documents if documents.is_dir() else documents.parent
    problem = ""
    for place in dict.fromkeys((folder, folder.parent)):
        for name in QUESTION_FILES:
            path = place / name
            if not path.is_file() or path.resolve() == documents.resolve():
                continue
            try:
                load_questions(str(path))
            except CorpusError as error:
                problem = problem or str(error)
                continue
            return str(path), ""
    return None, problem


def _fitting(questions: str, files: list[SourceFile]) -> tuple[str | None, str]:
    """The questions file again, unless its questions are about other documents than these."""
    try:
        check_questions(load_questions(questions)[0], {file.document_id: file.document_id for file in files}, questions)
    except CorpusError as error:
        return None, str(error)
    return questions, ""


def guess_columns(rows: list[dict[str, Any]]) -> Columns:
    """The columns that a person would take for text, id and title."""
    if not rows:
        return Columns()
    present = Counter(key for row in rows for key, value in row.items() if value not in (None, ""))
    usual = len(rows) / 2

    def texts(key: str) -> list[str]:
        return [row[key] for row in rows if isinstance(row.get(key), str)]

    longest = max(present, key=lambda key: sum(map(len, texts(key))), default="text")
    text = next((key for key in TEXT_COLUMNS if len(texts(key)) > usual), longest)
    ids = [key for key in ID_COLUMNS if present[key] == len(rows)]
    unique = (key for key in ids if len({json.dumps(row[key], default=str) for row in rows}) == len(rows))
    title = next((key for key in TITLE_COLUMNS if len(texts(key)) > usual and key != text), None)
    return Columns(text, next(unique, None), title)


def count_rows(path: Path) -> int:
    """Rows of a .parquet, or lines with something on them of a .jsonl; 0 for a file that cannot be read."""
    try:
        if path.suffix.lower() == ".parquet":
            return pq.read_metadata(path).num_rows
        with path.open("rb") as file:
            return sum(1 for line in file if not line.isspace())
    except (OSError, pa.ArrowException):
        return 0


def sample_rows(path: Path) -> list[dict[str, Any]]:
    """The first rows of a file; a line that is no JSON object counts as an empty row."""
    try:
        if path.suffix.lower() == ".parquet":
            with pq.ParquetFile(path) as file:
                return next((batch.to_pylist() for batch in file.iter_batches(batch_size=SAMPLED_ROWS)), [])
        with path.open("rb") as file:
            return list(islice(_objects(file), SAMPLED_ROWS))
    except (OSError, pa.ArrowException, UnicodeDecodeError):
        return []


def _objects(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.isspace():
            continue
        try:
            value = json.loads(line.decode("utf-8-sig"))
        except (ValueError, RecursionError):
            value = None
        yield value if isinstance(value, dict) else {}


def _lengths_of_files(files: list[SourceFile]) -> tuple[list[int], list[str]]:
    """The words of each readable file, and what is wrong with each of the others."""
    lengths, problems = [], []
    for file in files:
        try:
            text, _ = read_document(file.path.read_bytes(), file.path.suffix.lower())
        except Unreadable as problem:
            problems.append(f"{file.given}: {problem.detail}")
        except OSError as error:
            problems.append(f"{file.given}: cannot be read ({error.strerror})")
        else:
            lengths.append(count_words(text))
    return lengths, problems


def _sample(files: list[SourceFile]) -> list[SourceFile]:
    converted = [file for file in files if _kind(file) == "converted"]
    plain = [file for file in files if _kind(file) != "converted"]
    return _spread(converted, SAMPLED_CONVERSIONS) + _spread(plain, SAMPLED_FILES)


def _spread(files: list[SourceFile], count: int) -> list[SourceFile]:
    """At most `count` of `files`, evenly spread."""
    return files if len(files) <= count else [files[index * len(files) // count] for index in range(count)]


def _scale(all_of_them: int, looked_at: int) -> float:
    return all_of_them / looked_at if looked_at else 0.0


def _kind(file: SourceFile) -> str:
    return FORMATS[file.path.suffix.lower()].kind
