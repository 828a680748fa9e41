from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memo_ray.config.benchmarks import MuSiQue
from memo_ray.errors import CorpusError
from memo_ray.evaluation.benchmarks.musique import load

Shared = Callable[[str], Path]


def row(name: str, text_key: str = "paragraph_text", **more: Any) -> dict[str, Any]:
    paragraphs = [
        {"idx": n, "title": f"T{n}", text_key: f"{name} paragraph {n}", "is_supporting": n < 2} for n in range(6)
    ]
    return {
        "id": name,
        "question": f"{name}?",
        "answer": "Ann",
        "answer_aliases": ["she"],
        "paragraphs": paragraphs,
    } | more


def test_the_original_form_and_hipporags_say_the_same(tmp_path: Path) -> None:
    names = ("2hop__1_2", "3hop1__1_2_3")
    original, other = tmp_path / "dev.jsonl.gz", tmp_path / "musique.json"
    original.write_bytes(gzip.compress("\n".join(json.dumps(row(name)) for name in names).encode()))
    other.write_text(json.dumps([row(name, "text") for name in names]))
    loaded = [load(MuSiQue(kind="musique", path=str(path)), "b") for path in (original, other)]
    assert loaded[0].digests() == loaded[1].digests()
    question = loaded[0].questions[1]
    assert (question.question_id, question.answers, question.hops) == ("3hop1__1_2_3", ["Ann", "she"], 3)
    assert question.document_ids == ["3hop1__1_2_3_para0_chunk0", "3hop1__1_2_3_para1_chunk0"]


def test_a_row_that_is_no_question_is_a_reject(tmp_path: Path) -> None:
    path = tmp_path / "dev.jsonl"
    bad = [row("2hop__1_2"), {"id": "x"}, row("2hop__3_4", "body"), row("2hop__5_6", answer="", answer_aliases=[])]
    path.write_text("\n".join([*(json.dumps(one) for one in bad), "{broken"]))
    loaded = load(MuSiQue(kind="musique", path=str(tmp_path)), "b")
    assert len(loaded.questions) == 1
    assert [(one.row_id, one.reason) for one in loaded.rejects] == [
        ("dev.jsonl:2", "not_musique"),
        ("dev.jsonl:3", "not_musique"),
        ("dev.jsonl:5", "not_musique"),
        ("2hop__5_6", "no_answer"),
    ]


@pytest.mark.parametrize(
    "wrong",
    [{"question": None}, {"answer": 7}, {"answer_aliases": [None]}, {"question": "\ud800?"}, {"answer": "\ud800"}],
)
def test_a_row_whose_texts_are_none_is_a_reject(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in (row("2hop__1_2"), row("2hop__3_4", **wrong))))
    loaded = load(MuSiQue(kind="musique", path=str(path)), "b")
    assert len(loaded.questions) == 1
    assert [(one.row_id, one.reason) for one in loaded.rejects] == [("dev.jsonl:2", "not_musique")]


def test_a_broken_archive_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "dev.jsonl.gz"
    packed = bytearray(gzip.compress(json.dumps(row("2hop__1_2")).encode()))
    packed[12:20] = b"\xff" * 8
    path.write_bytes(packed)
    with pytest.raises(CorpusError, match=r"dev\.jsonl\.gz: cannot be read .*; download it again"):
        load(MuSiQue(kind="musique", path=str(path)), "b")


def test_what_cannot_be_had_is_said_with_the_address(tmp_path: Path) -> None:
    address = "https://github.com/StonyBrookNLP/musique"
    with pytest.raises(CorpusError, match=f"b.path: nowhere: no such file or folder; get the benchmark from {address}"):
        load(MuSiQue(kind="musique", path="nowhere"), "b")
    with pytest.raises(CorpusError, match=f"holds none of .*{address}"):
        load(MuSiQue(kind="musique", path=str(tmp_path)), "b")
    with pytest.raises(CorpusError, match=f"b.path: osunlp/HippoRAG_2 cannot be had from the hub .*{address}"):
        load(MuSiQue(kind="musique"), "b")


def test_the_papers_questions_and_negatives(shared: Shared) -> None:
    """The 81 of the paper's questions that are in the shared part of the dev set: 165 and 187 documents."""
    ids = str(shared("musique/paper1000_ids_and_negative_paras.json"))
    path = str(shared("musique/dev200_full.jsonl.gz"))
    loaded = load(MuSiQue(kind="musique", path=path, question_ids=ids, negative_ids=ids), "b")
    assert len(loaded.questions) == 81
    assert loaded.facts["evidence_documents"] == 165 and loaded.facts["negative_documents"] == 187
    assert [row.reason for row in loaded.rejects] == ["not_in_data"] * 919
    assert max(map(len, loaded.groups)) <= 8  # Table 8's largest group


def test_noise_on_real_questions(shared: Shared) -> None:
    path = str(shared("musique/dev200_full.jsonl.gz"))
    sizes = [
        len(load(MuSiQue(kind="musique", path=path, noise=noise, sample=20), "b").documents) for noise in (0, 1, 2)
    ]
    assert sizes[0] < sizes[1] < sizes[2]
    assert sizes[1] == pytest.approx(2 * sizes[0], rel=0.05) and sizes[2] == pytest.approx(3 * sizes[0], rel=0.05)
