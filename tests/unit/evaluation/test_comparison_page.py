from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

from memo_ray.artifacts.store import Artifact
from memo_ray.evaluation.report.exports import as_csv, as_json, as_latex
from memo_ray.evaluation.report.side_by_side import browse, by_kind, losses, write_comparison
from tests.unit.evaluation.conftest import HOSTILE
from tests.unit.evaluation.endpoint import endpoint
from tests.unit.evaluation.side_by_side import ASKED, FACTS, executive, run


def test_exports_hold_the_same_figures(isles: Artifact, tmp_path: Path) -> None:
    table = run(isles, tmp_path).table
    assert table is not None
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert [(row["system"], float(row["accuracy_mean"]), row["paper_accuracy"]) for row in rows[:2]] == [
        ("perfect_retrieval", 1.0, "0.6283"), ("bm25", 1.0, "0.2"),
    ]  # fmt: skip
    assert (rows[0]["questions"], rows[0]["seeds"], rows[0]["answers"]) == ("4", "2", "8")
    assert json.loads(as_json(table))["systems"][1]["accuracy_mean"] == 1.0
    latex = as_latex(table)
    assert r"perfect\_retrieval & 100.00 $\pm$ 0.00 & 62.83 \\" in latex
    assert r"bm25 & \textbf{100.00 $\pm$ 0.00} & 20.00 \\" in latex
    assert latex.count(r"\\") == 2 + 4


def test_the_page_is_complete_and_escapes_what_models_say(isles: Artifact, tmp_path: Path) -> None:
    compared = run(isles, tmp_path, executive=lambda prompt: HOSTILE)
    assert compared.table is not None
    facts = {**compared.facts, "private": "publish no text"}
    page = write_comparison(tmp_path / "report", "small", compared.table, compared.answers, compared.rejects, facts)
    html = page.read_text()
    assert "<script" not in html and "{{ 7 * 7 }}" in html and "\u202e" not in html
    assert "publish no text" in html and "62.83" in html
    assert "text alone" not in html
    assert not re.search(r'(?:src|href)="(?!#|comparison)', html)
    assert {path.name for path in page.parent.iterdir()} == {
        "comparison.html", "comparison.csv", "comparison.json", "comparison.tex",
    }  # fmt: skip


def test_the_page_says_how_many_cartridges_learned_from_text_alone(isles: Artifact, tmp_path: Path) -> None:
    compared = run(isles, tmp_path)
    assert compared.table is not None and "cartridges_from_text" not in compared.facts
    facts = {**compared.facts, "cartridges_from_text": {"bm25/musique": 3, "no_context/musique": 0}}
    html = write_comparison(tmp_path / "report", "small", compared.table, [], [], facts).read_text()
    assert html.count("text alone") == 1 and ": 3 cartridges from the document's text alone" in html


def test_the_page_shows_transcripts_and_what_lost_each_answer(isles: Artifact, tmp_path: Path) -> None:
    def speaks(prompt: str) -> str:
        if '"justification"' in prompt:
            return json.dumps({"justification": "so it is", "evidence": [], "answer": "Gildwick"})
        if '"decision"' in prompt:
            return json.dumps({"decision": "answer", "questions": []})
        return json.dumps({"questions": [ASKED["wall"]]})

    memo = {"kind": "memo", "protocol": {"kind": "multi_turn"}}
    with endpoint(lambda prompt: FACTS["wall"][1]) as memory:
        memo["memory"] = {"engine": "openai", "base_url": memory, "model": "memory"}
        systems = [memo, {"kind": "bm25", "top_k": 1}]
        compared = run(isles, tmp_path, executive=speaks, systems=systems, judge=None, seeds=[0])
    assert {(row.system, row.kind, row.lost) for row in compared.answers} >= {
        ("memo", "one_hop", "answering"), ("bm25", "one_hop", "reading"),
    }  # fmt: skip
    (asked,) = [row for row in compared.answers if (row.system, row.question_id) == ("memo", "q-wall")]
    assert asked.lost == "synthesis" and asked.transcript
    counted = losses(compared.answers)["musique"]
    assert counted.columns == ["reading", "answering", "synthesis"]
    assert counted.rows == {"memo": [None, 3, 1], "bm25": [4, None, None]}
    assert compared.table is not None
    page = write_comparison(tmp_path / "report", "small", compared.table, compared.answers, [], compared.facts)
    html = page.read_text()
    assert "Final synthesis" in html and "lost: synthesis" in html and 'id="lost"' in html


def test_a_retriever_that_finds_nothing_lost_its_answers(isles: Artifact, tmp_path: Path) -> None:
    systems = [{"kind": "bm25"}, {"kind": "no_context"}]
    compared = run(isles, tmp_path, systems=systems, seeds=[0], question="Quisnam?")
    assert {(row.system, row.lost) for row in compared.answers} == {("bm25", "retrieval"), ("no_context", "knowledge")}


def test_accuracy_by_kind_of_question(isles: Artifact, tmp_path: Path) -> None:
    rows = run(isles, tmp_path).answers
    assert by_kind(rows) == {}  # all of one kind
    mixed = [replace(row, kind="two_hop") if row.question_id == "q-wall" else row for row in rows]
    counted = by_kind(mixed)["musique"]
    assert counted.columns == ["one_hop", "two_hop"] and counted.notes == ["3 questions", "1 questions"]
    assert counted.rows["bm25"] == [1.0, 1.0] and counted.rows["no_context"] == [0.0, 0.0]


def test_questions_that_set_systems_apart_are_browsed_first(isles: Artifact, tmp_path: Path) -> None:
    def half(prompt: str) -> str:
        return executive(prompt) if ASKED["ferry"] in prompt else "no"

    shown = browse(run(isles, tmp_path, executive=half).answers)["musique"]
    assert len(shown) == 4 and shown[0].question == ASKED["ferry"]
    assert [(voice.system, voice.right, voice.judged) for voice in shown[0].voices][2] == ("no_context", 0, 2)
