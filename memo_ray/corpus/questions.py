"""Reads a user's questions, on which a memory is evaluated and never trained.

A JSON Lines or CSV file in (`question`, `answers`; optional `question_id`, `hops`, `document_ids`), Question rows
out, and rejects for questions that cannot be read, repeat another or name a document the corpus does not hold.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from memo_ray.artifacts.place import open_file
from memo_ray.corpus.formats import Unreadable, clean, decode
from memo_ray.corpus.loaders import expanded
from memo_ray.errors import CorpusError
from memo_ray.rows import Question, Reject, content_id

KEYS = frozenset(field.name for field in fields(Question))
CSV_LIST_KEYS = ("answers", "document_ids")
CSV_SEPARATOR = "|"
"""Between several answers or document ids in one cell of a CSV file."""
CSV_LONGEST_CELL = 2**24
"""Characters; the csv module's own limit is 128 KiB, and one cell beyond it would end the reading of the file."""
MOST_HOPS = 1_000
"""More is a slip, and a number that no table holds."""
SHOWN_CHARACTERS = 80
"""Of a value that an error names."""

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Unusable(Question):
    """Stands in the place of a question that cannot be read; `check_questions` makes it a reject."""

    reason: str = ""
    detail: str = ""


def load_questions(given: str) -> tuple[list[Question], list[str]]:
    """The questions of a file in order, and the names of the keys in it that are not used.

    A line or row that is no question becomes an `Unusable`. Raises CorpusError for a file that is not UTF-8, a CSV
    file without its columns, no question at all, and, naming the first line, when none can be read.
    """
    try:
        with open_file(expanded(given)) as file:
            data = file.read()
    except FileNotFoundError:
        raise CorpusError(f"{given}: no such questions file; correct questions, or leave it out") from None
    except OSError as error:
        raise CorpusError(f"{given}: the questions file cannot be read ({error.strerror or error})") from None
    path = Path(given)  # of an object on S3 only the end counts
    questions: list[Question] = []
    unused: set[str] = set()
    for number, values in _records(data, given) if path.suffix.lower() == ".csv" else _objects(data, given):
        try:
            if isinstance(values, Unreadable):
                raise values
            unused |= values.keys() - KEYS
            questions.append(_question(values))
        except Unreadable as problem:
            where = f"{path.name}:{number}"
            questions.append(
                Unusable(where, "", [], reason=f"bad_{problem.reason}", detail=f"{where}: {problem.detail}")
            )
    if not questions:
        form = "row below the header" if path.suffix.lower() == ".csv" else "JSON object a line"
        raise CorpusError(f"{given}: holds no question; write one {form}, or leave questions out")
    bad = [row for row in questions if isinstance(row, Unusable)]
    if len(bad) == len(questions):
        raise CorpusError(f"{given.removesuffix(path.name)}{bad[0].detail}; no other question can be read")
    return questions, sorted(unused)


def check_questions(
    questions: list[Question], documents: Mapping[str, str], given: str
) -> tuple[list[Question], list[Reject]]:
    """The questions that can be asked of a corpus, and a reject for each of the others.

    `documents`: each known document id, and the id under which its text was kept (another one for a duplicate).
    Raises CorpusError when every question names an unknown document, for then the ids follow another scheme.
    """
    kept: list[Question] = []
    rejects: list[Reject] = []
    ids: set[str] = set()
    texts: dict[str, str] = {}
    for question in questions:
        text = " ".join(question.question.casefold().split())
        unknown = [name for name in question.document_ids if name not in documents]
        if isinstance(question, Unusable):
            rejects.append(_reject(question, question.reason, question.detail))
        elif question.question_id in ids:
            rejects.append(_reject(question, "duplicate_id", f"question_id {question.question_id} is used twice"))
        elif text in texts:
            rejects.append(_reject(question, "duplicate", f"asks the same as question {texts[text]}"))
        elif unknown:
            rejects.append(_reject(question, "unknown_document", f"the corpus holds no document {unknown[0]}"))
        else:
            sources = list(dict.fromkeys(documents[name] for name in question.document_ids))
            kept.append(Question(question.question_id, question.question, question.answers, question.hops, sources))
            texts[text] = question.question_id
        ids.add(question.question_id)
    if not kept:
        example = next(iter(documents), "")
        raise CorpusError(f"{given}: {rejects[0].detail}, and no other question fits; ids look like {example}")
    return kept, rejects


def _objects(data: bytes, given: str) -> Iterator[tuple[int, Values | Unreadable]]:
    """Line number and object of every line that is not blank, or what is wrong with it."""
    try:
        text = decode(data)
    except Unreadable as problem:
        raise CorpusError(f"{given}: {problem.detail}") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, Unreadable("line", f"is not JSON ({error}); write one object a line")
            continue
        if not isinstance(values, dict):
            values = Unreadable("line", 'is not an object; write {"question": "...", "answers": ["..."]}')
        yield number, values


def _records(data: bytes, given: str) -> Iterator[tuple[int, Values | Unreadable]]:
    """Number of the last line and values of every row of a CSV file with a header, or what is wrong with it."""
    csv.field_size_limit(CSV_LONGEST_CELL)
    try:
        reader = csv.DictReader(io.StringIO(decode(data), newline=""))
        columns = list(reader.fieldnames or ())
        missing = [name for name in ("question", "answers") if name not in columns]
        if missing:
            raise CorpusError(
                f"{given}:1: has no column {', '.join(missing)}; name the columns in the first line, parted by commas"
            )
        for row in reader:
            yield reader.line_num, _cells(row)
    except Unreadable as problem:
        raise CorpusError(f"{given}: {problem.detail}") from None
    except csv.Error as error:
        raise CorpusError(f"{given}: is not CSV ({error})") from None


def _cells(row: dict[Any, Any]) -> Values | Unreadable:
    """The values of a row's cells; several answers or document ids are parted by `|`."""
    if row.get(None):  # what the csv module calls cells without a column
        return Unreadable("line", "has more cells than the header; put a text that holds a comma between quotes")
    values: Values = {"question": ""}
    values |= {name: text for name, text in row.items() if name and isinstance(text, str) and text}
    for name in CSV_LIST_KEYS:
        cells = values.get(name, "").split(CSV_SEPARATOR)
        values[name] = [cell.strip() for cell in cells if cell.strip()]
    hops = values.get("hops", "")
    if hops.isdecimal() and len(hops) < SHOWN_CHARACTERS:
        values["hops"] = int(hops)
    return values


def _question(values: Values) -> Question:
    question = values.get("question")
    if not isinstance(question, str):
        raise Unreadable("question", f"question must be text, got {_shown(question)}")
    question = _text(question, "question")
    answers = _texts(values, "answers")
    if not answers:
        raise Unreadable("answers", "answers must be a list with at least one text")
    hops = values.get("hops", 0)
    if not isinstance(hops, int) or isinstance(hops, bool) or not 0 <= hops <= MOST_HOPS:
        raise Unreadable("hops", f"hops must be a whole number from 0 to {MOST_HOPS:,}, got {_shown(hops)}")
    question_id = values.get("question_id", content_id("question", question))
    if not isinstance(question_id, str) or not question_id.strip():
        raise Unreadable("question_id", f"question_id must be text, got {_shown(question_id)}")
    if question_id != question_id.encode(errors="ignore").decode() or "\0" in question_id:
        raise Unreadable("question_id", "question_id holds what is no character; mend it, or leave it out")
    return Question(question_id, question, answers, hops, _texts(values, "document_ids"))


def _texts(values: Values, key: str) -> list[str]:
    found = values.get(key, [])
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise Unreadable(key, f"{key} must be a list of texts, got {_shown(found)}")
    return [_text(item, key) for item in found]


def _text(text: str, key: str) -> str:
    """`text` as documents are cleaned. Raises Unreadable that names `key`."""
    try:
        return clean(text)
    except Unreadable as problem:
        if problem.reason != "empty":
            raise Unreadable(key, f"{key} {problem.detail}") from None
        raise Unreadable(key, f"{key} must hold a letter or digit; write it out, or remove the line") from None


def _shown(value: Any) -> str:
    return json.dumps(value)[:SHOWN_CHARACTERS]


def _reject(question: Question, reason: str, detail: str) -> Reject:
    return Reject(question.question_id, "corpus", "questions", reason, detail)
