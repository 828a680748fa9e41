"""The report's section on what was learnt, from the small run's stored answers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from memo_ray.evaluation.report.highlights import Chart
from memo_ray.evaluation.report.learned import Learned, capacity_charts, learned, room
from memo_ray.evaluation.report.report import render_report, write_report
from memo_ray.evaluation.summary import build_summary, summary_table
from memo_ray.rows import Answer, LedgerEntry, Reflection
from tests.unit.evaluation.conftest import Make, SmallRun


def test_epochs_documents_and_steps_of_one_memory(small_run: SmallRun) -> None:
    found = learned(small_run.summary(), small_run.artefacts, small_run.answers)
    assert found.epochs == ["1", "2", "3"] and found.total == 2
    assert [cells for _, cells in found.documents] == [[0.0, 0.0, 0.5], [0.0, 0.0, 1.0]]
    assert found.documents[0][0] == "Harbour"
    assert found.abstained == {}  # there is no other corpus


def test_the_page_and_the_tables_tell_it(small_run: SmallRun, tmp_path: Path) -> None:
    summary = small_run.summary()
    write_report(tmp_path, summary, small_run.artefacts, small_run.answers, small_run.transcripts, {})
    page = (tmp_path / "report.html").read_text()
    assert "What was learnt" in page and "Held-out recall by document after each epoch" in page
    data = json.loads((tmp_path / "report" / "tables.json").read_text())["learned"]
    assert data["epochs"] == ["1", "2", "3"]
    assert data["documents"][0] == {"document": "Harbour", "recall": [0.0, 0.0, 0.5]}


def test_recall_is_told_apart_by_how_near_a_question_is_to_a_trained_one(small_run: SmallRun) -> None:
    charts = {chart.x_label: chart for chart in learned_charts(small_run) if "in common" in chart.caption}
    chart = charts["epoch"]
    # "Number 0 is which year?" and "Which year is number 0?" have the same words.
    assert chart.series == ["more (2 questions)"] and [x for x, _ in chart.rows] == [1.0, 2.0, 3.0]


def test_it_is_said_what_the_epoch_was_chosen_by(small_run: SmallRun, monkeypatch: pytest.MonkeyPatch) -> None:
    assert learned(small_run.summary(), small_run.artefacts, small_run.answers).chosen == ""
    (evaluation,) = [made for made in small_run.artefacts if made.record.stage == "evaluation"]
    by = "recall on all 2 held-out questions, 0 of which are far from trained ones"
    monkeypatch.setitem(evaluation.record.facts, "memory", {"folder": "epoch-3", "chosen_by": by})
    summary = small_run.summary()
    assert summary["training"]["chosen_by"] == by
    page = render_report(summary, small_run.artefacts, small_run.answers, [], {})
    assert f"The memory is that of epoch 3 ({by})." in page


def learned_charts(run: SmallRun) -> list[Chart]:
    return learned(run.summary(), run.artefacts, run.answers).charts


def test_the_capacity_is_drawn_against_the_number_of_reflections() -> None:
    assert capacity_charts([room("all", 100, 1.0), room("none", 100, 0.0)]) == []
    (chart,) = capacity_charts([room("law", 4000, 0.5), room("wiki", 1000, 0.9)])
    assert chart.series == ["measured", "expected", "twice the parameters", "four times the parameters"]
    columns = [dict(column) for column in zip(*([(x, y) for y in ys] for x, ys in chart.rows), strict=True)]
    measured, expected, twice, four = ({x: y or 0.0 for x, y in column.items()} for column in columns)
    assert list(expected) == [500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0, 32000.0]
    assert measured == dict.fromkeys(expected, 0.0) | {1000.0: 0.9, 4000.0: 0.5}
    assert all(expected[x] < twice[x] < four[x] for x in expected)  # a larger memory recalls more
    assert expected[500.0] > expected[32000.0]


def test_a_pass_of_study_is_told_as_one(small_run: SmallRun, monkeypatch: pytest.MonkeyPatch) -> None:
    (training,) = [made for made in small_run.artefacts if made.record.stage == "training"]
    study = {"epochs": [3], "wrong_before": 5, "wrong_after": 1, "seconds": 2.0}
    monkeypatch.setitem(training.record.facts, "study", study)  # other tests see the same artefact
    summary = small_run.summary()
    assert learned(summary, small_run.artefacts, small_run.answers).epochs == ["1", "2", "3 (study)"]
    assert "5 reflections wrong before study, 1 after (epoch 3, chosen)" in summary_table(summary)
    page = render_report(summary, small_run.artefacts, small_run.answers, [], {})
    assert "wrong after study" in page and "before it 5" in page and "epoch 3: study of what was wrong" in page


def test_nothing_held_out_is_nothing_learnt(small_run: SmallRun) -> None:
    answers = [row for row in small_run.answers if row.kind != "held_out"]
    assert learned(small_run.summary(), small_run.artefacts, answers) == Learned()
    assert "What was learnt" not in render_report(small_run.summary(), small_run.artefacts, answers, [], {})


def answer(question: str, system: str, said: str, recalled: bool) -> Answer:
    return Answer(question, system, "held_out", "?", ["x"], said, recalled, 0.0, recalled, 0.1, 1, 1)


def test_memories_are_asked_about_what_only_others_learnt(make: Make) -> None:
    def corpus(name: str, count: int):
        rows = [Reflection(f"{name}{n}", "?", f"{name} fact {n}", "direct", "train") for n in range(count)]
        rows.append(Reflection(f"{name}-h", "?", f"{name} fact 0", "rephrase", "held_out"))
        ledger = [LedgerEntry(row.reflection_id, row.step, [], [name], "", [], "", "", 0) for row in rows]
        return make("synthesis", name, {"reflections": (rows, Reflection), "ledger": (ledger, LedgerEntry)})

    artefacts = [corpus("law", 10), corpus("wiki", 20)]
    answers = [
        answer("law-h", "memory-law", "law fact 0", True),
        answer("wiki-h", "memory-law", "I don't know.", False),
        answer("wiki-h", "memory-wiki", "wiki fact 7", False),
        answer("law-h", "memory-wiki", "law fact 3", False),
    ]
    summary = build_summary("two", artefacts, answers, {}, {})
    found = learned(summary, artefacts, answers)
    assert found.abstained == {"memory-law": {"recall": 1.0, "n": 1}, "memory-wiki": {"recall": 0.0, "n": 1}}
    assert [(one.memory, one.reflections, one.recall) for one in found.rooms] == [
        ("memory-law", 10, 1.0), ("memory-wiki", 20, 0.0),
    ]  # fmt: skip
    assert found.epochs == [] and found.documents == []


def test_capacity_says_how_full_a_memory_is() -> None:
    found = room("epoch-3", 4000, 0.5)
    assert found.capacity is not None and found.fill is not None and found.scale is not None
    assert found.fill == pytest.approx(4000 / found.capacity)
    assert 0.5 < found.capacity / 4000 < 0.8 and found.scale > 5
    assert dataclasses.astuple(room("epoch-3", 4000, 1.0))[3:] == (None, None, None)
