"""Sets made elsewhere come in whole, or the row that cannot be used is named; and go out as chat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memo_ray.errors import CorpusError
from memo_ray.rows import content_id
from memo_ray.synthesis.imported import chat_lines, import_pairs, source_digests

CHAT = [{"role": "user", "content": "Who kept it?"}, {"role": "assistant", "content": "The daughter did."}]


def written(folder: Path, *rows: Any, name: str = "set.jsonl") -> str:
    path = folder / name
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "row",
    [
        {"question": "Who kept it?", "answer": " The daughter did.\n"},
        {"prompt": "Who kept it?", "completion": "The daughter did.", "source": "mine"},
        {"prompt": "Who kept it?", "response": "The daughter did."},
        {"instruction": "Who kept it?", "output": "The daughter did."},
        {"messages": CHAT},
    ],
    ids=lambda row: " ".join(row),
)
@pytest.mark.parametrize("kind", [".jsonl", ".parquet"])
def test_the_usual_columns_and_chats_are_understood(row: dict[str, Any], kind: str, tmp_path: Path) -> None:
    if kind == ".jsonl":
        path = written(tmp_path, row, "")
    else:
        path = str(tmp_path / "set.parquet")
        pq.write_table(pa.Table.from_pylist([row]), path)
    (found,), (entry,), counts = import_pairs([path])
    assert (found.question, found.answer, found.split, found.step) == (
        "Who kept it?", "The daughter did.", "train", "imported",
    )  # fmt: skip
    assert found.reflection_id == entry.reflection_id == content_id(found.question, found.answer)
    assert entry.document_ids == [Path(path).name]
    assert counts == {"read": 1, "copies": 0}


def test_copies_are_set_aside_and_counted_over_all_files(tmp_path: Path) -> None:
    one = written(tmp_path, {"question": "a?", "answer": "b"}, {"question": "a?", "answer": "c"})
    other = written(tmp_path, {"question": "a?", "answer": "b"}, name="other.jsonl")
    found, ledger, counts = import_pairs([one, other])
    assert [(row.question, row.answer) for row in found] == [("a?", "b"), ("a?", "c")]
    assert len(ledger) == 2
    assert counts == {"read": 3, "copies": 1}


def test_held_out_rows_stay_held_out(tmp_path: Path) -> None:
    path = written(tmp_path, {"question": "a?", "answer": "b"}, {"question": "c?", "answer": "b", "split": "held_out"})
    assert [row.split for row in import_pairs([path])[0]] == ["train", "held_out"]


GOOD = {"question": "a?", "answer": "b"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", r"set\.jsonl:2: is not JSON .*write one object a line"),
        ("[1]", r"set\.jsonl:2: is no JSON object"),
        ({"q": "a?", "a": "b"}, r"set\.jsonl:2: needs question and answer, or messages; its columns are a, q"),
        ({"question": "a?", "answer": 3}, r"set\.jsonl:2: answer must be text, got int"),
        ({"question": " ", "answer": "b"}, r"set\.jsonl:2: question is empty"),
        ({"question": "x?", "answer": "b", "split": "test"}, r'split is "test"; write train or held_out'),
        ({"messages": [{"role": "system", "content": "s"}, *CHAT]}, r"roles system, user, assistant; .*fold system"),
        ({"messages": "hello"}, r"messages must be a list of objects"),
        ({**GOOD, "split": "held_out"}, r"the same pair stands elsewhere with split train"),
    ],
    ids=str,
)
def test_a_row_that_cannot_be_learnt_from_is_named(row: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=message):
        import_pairs([written(tmp_path, GOOD, row)])


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no such question-answer file"):
        source_digests([str(tmp_path / "none.jsonl")])
    with pytest.raises(CorpusError, match=r"are \.jsonl or \.parquet files"):
        import_pairs([written(tmp_path, GOOD, name="set.csv")])
    with pytest.raises(CorpusError, match="holds no pair to train on; write a question and an answer a row"):
        import_pairs([written(tmp_path, "")])
    with pytest.raises(CorpusError, match="holds no pair to train on; all 1 have split held_out"):
        import_pairs([written(tmp_path, {"question": "Who?", "answer": "He.", "split": "held_out"})])
    with pytest.raises(CorpusError, match="is no readable Parquet file"):
        import_pairs([written(tmp_path, "not parquet at all", name="set.parquet")])


def test_what_goes_out_comes_in_again(tmp_path: Path) -> None:
    rows, _, _ = import_pairs([written(tmp_path, {"question": "Wer?", "answer": "Bär"}, {**GOOD, "split": "held_out"})])
    lines = list(chat_lines(rows))
    assert json.loads(lines[0])["messages"][1] == {"role": "assistant", "content": "Bär"}
    again, _, _ = import_pairs([written(tmp_path, *lines, name="out.jsonl")])
    assert again == rows


def test_an_imported_set_is_a_run_without_a_generator(tmp_path: Path) -> None:
    from memo_ray.config.loading import validate

    run = validate(
        {"name": "x", "corpora": [{"name": "a", "paths": ["d"], "reflections": ["pairs.jsonl"]}]}, "run.yaml"
    )
    assert run.corpora[0].reflections == ("pairs.jsonl",)


def test_the_licence_of_a_set_or_of_a_row_is_in_the_ledger(tmp_path: Path):
    path = tmp_path / "set.jsonl"
    rows = [{"question": "a?", "answer": "b", "terms": "CC0-1.0"}, {"question": "c?", "answer": "d"}]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "set.parquet")
    for given in (path, tmp_path / "set.parquet"):
        _, ledger, _ = import_pairs((str(given),), "CC-BY-4.0", "terms")
        assert [entry.licence for entry in ledger] == ["CC0-1.0", "CC-BY-4.0"]
        assert [entry.licence for entry in import_pairs((str(given),), "CC-BY-4.0")[1]] == ["CC-BY-4.0"] * 2
