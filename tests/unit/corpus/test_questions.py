"""Questions of a user: what is read, what is refused at once, and what is set aside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memo_ray.artifacts.tables import to_table
from memo_ray.corpus.questions import check_questions, load_questions
from memo_ray.errors import CorpusError
from memo_ray.rows import Question, Reject

ROOT = Path(__file__).resolve().parents[3]


def write(folder: Path, *rows: Any) -> str:
    path = folder / "questions.jsonl"
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))
    return str(path)


def ask(text: str, name: str = "", *documents: str) -> Question:
    return Question(name or text, text, ["x"], 0, list(documents))


def test_all_fields_and_the_least(tmp_path: Path) -> None:
    full = {"question_id": "q1", "question": " Who? ", "answers": ["Ann", "she"], "hops": 2, "document_ids": ["a"]}
    questions, unused = load_questions(write(tmp_path, full, b"", {"question": "Where?", "answers": ["Here"]}))
    assert questions[0] == Question("q1", "Who?", ["Ann", "she"], 2, ["a"])
    assert questions[1].hops == 0 and questions[1].document_ids == []
    assert len(questions[1].question_id) == 16
    assert unused == []


def test_ids_are_made_from_the_question_and_stay_the_same(tmp_path: Path) -> None:
    rows = [{"question": text, "answers": ["x"]} for text in ("Who?", "Where?", "Who?")]
    first, second, third = (question.question_id for question in load_questions(write(tmp_path, *rows))[0])
    assert first == third != second


def test_keys_that_are_not_used_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, {"question": "Who?", "answers": ["x"], "kind": 1, "doc": 2})
    assert load_questions(path)[1] == ["doc", "kind"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"answers": ["x"]}, "questions.jsonl:2: question must be text, got null"),
        ({"question": "", "answers": ["x"]}, "questions.jsonl:2: question must hold a letter or digit; write it out"),
        ({"question": " \t", "answers": ["x"]}, "questions.jsonl:2: question must hold a letter or digit"),
        ({"question": "a\ud800?", "answers": ["x"]}, "questions.jsonl:2: question holds a broken"),
        ({"question": "Who?"}, "questions.jsonl:2: answers must be a list with at least one text"),
        ({"question": "Who?", "answers": "Ann"}, 'questions.jsonl:2: answers must be a list of texts, got "Ann"'),
        ({"question": "Who?", "answers": [1]}, "questions.jsonl:2: answers must be a list of texts"),
        ({"question": "Who?", "answers": [""]}, "questions.jsonl:2: answers must hold a letter or digit"),
        ({"question": "Who?", "answers": ["x"], "hops": "2"}, "questions.jsonl:2: hops must be a whole number"),
        ({"question": "Who?", "answers": ["x"], "hops": True}, "questions.jsonl:2: hops must be a whole number"),
        ({"question": "Who?", "answers": ["x"], "hops": 10**20}, "questions.jsonl:2: hops must be a whole number"),
        ({"question": "Who?", "answers": ["x"], "question_id": 3}, "questions.jsonl:2: question_id must be text"),
        (
            {"question": "Who?", "answers": ["x"], "question_id": "\ud800"},
            "questions.jsonl:2: question_id holds what is",
        ),
        ({"question": "Who?", "answers": ["x"], "question_id": "a\0"}, "questions.jsonl:2: question_id holds what is"),
        ({"question": "Who?", "answers": ["x"], "document_ids": "a"}, "questions.jsonl:2: document_ids must be a list"),
    ],
)
def test_a_bad_question_is_a_reject_that_names_file_line_and_key(tmp_path: Path, row: Any, says: str) -> None:
    asked, _ = load_questions(write(tmp_path, {"question": "Fine?", "answers": ["yes"]}, row))
    kept, rejects = check_questions(asked, {}, "questions.jsonl")
    assert [question.question for question in kept] == ["Fine?"]
    (reject,) = rejects
    assert reject.row_id == "questions.jsonl:2" and reject.reason.startswith("bad_")
    assert reject.detail.startswith(says)


def test_a_file_of_bad_questions_alone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"questions\.jsonl:1: answers must be a list"):
        load_questions(write(tmp_path, {"question": "Who?"}))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (["Who?"], "is not an object"),
        (None, "is not an object"),
        ("Who?", "is not an object"),
    ],
)
def test_a_line_of_another_form_is_a_reject_and_the_rest_is_read(tmp_path: Path, line: Any, says: str) -> None:
    rows = [{"question": text, "answers": ["yes"]} for text in ("Fine?", "Fine, too?")]
    asked, _ = load_questions(write(tmp_path, rows[0], line, rows[1]))
    kept, (reject,) = check_questions(asked, {}, "questions.jsonl")
    assert [question.question for question in kept] == ["Fine?", "Fine, too?"]
    assert (reject.row_id, reject.reason) == ("questions.jsonl:2", "bad_line")
    assert reject.detail.startswith(f"questions.jsonl:2: {says}")
    to_table([*kept], Question)
    to_table([reject], Reject)


@pytest.mark.parametrize("data", [b'[{"question": "Who?", "answers": ["Ann"]}]', b'{\n  "question": "Who?"\n}'])
def test_a_file_that_is_no_json_lines_at_all_is_an_error(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(CorpusError, match=r"questions\.jsonl:1: is not .*; no other question can be read"):
        load_questions(write(tmp_path, data))


def test_a_byte_order_mark_and_line_ends_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"question": "Who?", "answers": ["Ann"]}\r\n{"question": "Why?", "answers": ["x"]}\r\n'
    )
    assert [question.question for question in load_questions(str(path))[0]] == ["Who?", "Why?"]


def test_csv_with_several_answers_in_a_cell(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('question,answers,hops,note\n"Who, then?",Ann | she,2,x\nWhere?,,1,\n', encoding="utf-8")
    asked, unused = load_questions(str(path))
    kept, rejects = check_questions(asked, {}, "mine.csv")
    assert (kept[0].question, kept[0].answers, kept[0].hops, unused) == ("Who, then?", ["Ann", "she"], 2, ["note"])
    assert [(reject.row_id, reject.reason) for reject in rejects] == [("mine.csv:3", "bad_answers")]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("Where?,Rome, Italy", "mine.csv:3: has more cells than the header; put a text that holds a comma between"),
        (",x", "mine.csv:3: question must hold a letter or digit"),
        (f"Where?,x,{'9' * 5000}", "mine.csv:3: hops must be a whole number"),
    ],
)
def test_a_bad_row_of_a_csv_file_is_a_reject(tmp_path: Path, row: str, says: str) -> None:
    path = tmp_path / "mine.csv"
    header = "question,answers,hops" if row.count("9") else "question,answers"
    path.write_text(f"{header}\nWho?,Ann\n{row}\nLong {'x' * 200_000}?,y\n", encoding="utf-8")
    kept, (reject,) = check_questions(load_questions(str(path))[0], {}, "mine.csv")
    assert [question.answers for question in kept] == [["Ann"], ["y"]] and reject.detail.startswith(says)


def test_csv_with_a_header_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("question,answers\n")
    with pytest.raises(CorpusError, match=r"mine\.csv: holds no question; write one row below the header"):
        load_questions(str(tmp_path / "mine.csv"))


def test_csv_without_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("q,a\nWho?,Ann\n")
    with pytest.raises(CorpusError, match=r"mine\.csv:1: has no column question, answers"):
        load_questions(str(path))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "holds no question; write one JSON object a line"),
        (b"\n \n", "holds no question"),
        (b'{"question": "caf\xe9"}', "not UTF-8"),
    ],
)
def test_a_file_without_questions_or_not_in_utf8(tmp_path: Path, data: bytes, says: str) -> None:
    with pytest.raises(CorpusError, match=rf"questions\.jsonl: .*{says}"):
        load_questions(write(tmp_path, data))


def test_a_missing_file() -> None:
    with pytest.raises(CorpusError, match=r"nowhere\.jsonl: no such questions file"):
        load_questions("nowhere.jsonl")


def test_what_cannot_be_asked_is_set_aside_with_its_reason() -> None:
    asked = [
        ask("Who?", "q1", "a"),
        ask("Where?", "q1", "a"),
        ask("who? ", "q3"),
        ask("Why?", "q4", "a", "zz"),
        ask("When?", "q5"),
    ]
    kept, rejects = check_questions(asked, {"a": "a"}, "q.jsonl")
    assert [question.question_id for question in kept] == ["q1", "q5"]
    assert [(reject.row_id, reject.reason, reject.step) for reject in rejects] == [
        ("q1", "duplicate_id", "questions"),
        ("q3", "duplicate", "questions"),
        ("q4", "unknown_document", "questions"),
    ]
    assert "zz" in rejects[2].detail


def test_a_question_about_a_duplicate_is_about_the_document_that_was_kept() -> None:
    kept, rejects = check_questions([ask("Who?", "q", "copy", "a")], {"a": "a", "copy": "a"}, "q.jsonl")
    assert kept[0].document_ids == ["a"] and not rejects


def test_ids_that_fit_no_document_at_all_are_an_error_that_shows_what_fits() -> None:
    with pytest.raises(CorpusError, match=r"q\.jsonl: the corpus holds no document A\.txt, .* ids look like a"):
        check_questions([ask("Who?", "q", "A.txt"), ask("Why?", "r", "B.txt")], {"a": "a", "b": "b"}, "q.jsonl")


def test_the_demos_questions_fit_its_documents() -> None:
    questions, unused = load_questions(str(ROOT / "demo" / "questions.jsonl"))
    names = {path.stem: path.stem for path in (ROOT / "demo" / "documents").glob("*.md")}
    kept, rejects = check_questions(questions, names, "demo/questions.jsonl")
    assert len(kept) >= 60 and not rejects and not unused
    assert {question.hops for question in kept} == {1, 2, 3}
