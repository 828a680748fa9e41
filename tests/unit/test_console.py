from __future__ import annotations

from pathlib import Path

import pytest

from memo_ray.artifacts.store import Artifact, Store
from memo_ray.console import Console
from memo_ray.rows import Reject

DOCUMENT = Reject("d", "corpus", "documents", "empty", "d.md: holds no text")


def corpus(folder: Path, *rejects: Reject) -> Artifact:
    store = Store(folder)
    with store.attempt("corpus-isles", "corpus", "0" * 64, {}, {}) as attempt:
        attempt.write("rejects", [DOCUMENT, *rejects], Reject)
        attempt.facts["question_rejects"] = len(rejects)
    made = store.find("corpus-isles", "0" * 64)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("reject", "says"),
    [
        (Reject("q.jsonl:2", "corpus", "questions", "bad_line", "q.jsonl:2: is not JSON"), "q.jsonl:2: is not JSON"),
        (Reject("2hop", "corpus", "benchmark", "no_answer", "has no answer"), "2hop: has no answer"),
    ],
)
def test_a_question_that_is_set_aside_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], reject: Reject, says: str
) -> None:
    Console().finished("corpus-isles", corpus(tmp_path, reject, reject))
    said = " ".join(capsys.readouterr().err.split())
    assert said.endswith(f"3 rejects 2 set aside of what was to be asked; the first: {says}")


def test_nothing_is_said_where_every_question_can_be_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Console().finished("corpus-isles", corpus(tmp_path))
    assert "set aside" not in capsys.readouterr().err
