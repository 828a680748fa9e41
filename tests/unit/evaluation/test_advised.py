"""The adviser's tables, beside what the sweep showed, in the summary, on a terminal and in the report."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from memo_ray.artifacts.store import Artifact
from memo_ray.evaluation.advised import TITLES, actual_recall, advised, as_text, model_bytes, ways_of
from memo_ray.evaluation.report.report import render_report
from memo_ray.evaluation.summary import build_summary, summary_table
from memo_ray.merging.advice import Measured, Probe, advise
from memo_ray.merging.geometry import Geometry, Layer
from memo_ray.rows import Answer, SweepRow, WayRow
from tests.unit.evaluation.conftest import Make

LAYER = Layer("layer 0", 10, 4.0, {"law": 1.0, "wiki": 2.0}, {"law & wiki": 0.1}, {"law & wiki": 0.4})
ALL = Layer("all", 10, 4.0, {"law": 1.0, "wiki": 2.0}, {"law & wiki": 0.1}, {"law & wiki": 0.4})
COUNTS = {"linear": 1, "task-arithmetic-s1": 4}
MERGES = [
    SweepRow("linear", "linear", "{}", 0.1, '{"law": 0.2, "wiki": 0.0}', 0.1, 5.0, 1.0, False),
    SweepRow("task-arithmetic-s1", "task_arithmetic", "{}", 0.5, '{"law": 0.6, "wiki": 0.4}', 0.5, 6.0, 1.0, False),
    SweepRow("ties-d0.3", "ties", '{"density": 0.3}', 0.6, '{"law": 0.8, "wiki": 0.4}', 0.6, 7.0, 1.0, True),
]
WAYS = [
    WayRow("union", 0.9, '{"law": 1.0, "wiki": 0.8}', 0.9, 260.0, 1, 0.1),
    WayRow("routed-likeliest", 0.7, '{"law": 0.8, "wiki": 0.6}', 0.7, 150.0, 2, 0.1),
]
ANSWERED = [
    Answer(str(n), "linear", "held_out", "?", ["x"], "x", True, 1.0, True, seconds, 1, 1)
    for n, seconds in enumerate((0.2, 0.4))
]


@pytest.fixture
def artefacts(make: Make) -> list[Artifact]:
    """Two trainings, their union's, an advice, and a merging that was compared."""
    probes = [Probe(corpus, 10, 8, COUNTS, COUNTS, 0.95) for corpus in ("law", "wiki")]
    advice = advise(ALL, probes, Measured(100.0, 60.0, 8.0, 2, 270_000_000))
    return [
        make("training", "law", {}, seconds=100.0),
        make("training", "wiki", {}, seconds=50.0),
        make("training", "", {}, seconds=160.0),
        make(
            "advice", "", {"answers": ([], Answer)},
            {"advice": asdict(advice), "geometry": asdict(Geometry((LAYER,), ALL))},
        ),
        make(
            "merging", "", {"answers": (ANSWERED, Answer), "sweep": (MERGES, SweepRow), "ways": (WAYS, WayRow)},
            {"best": "ties-d0.3"},
        ),
    ]  # fmt: skip


def test_predictions_stand_beside_what_the_sweep_and_its_rivals_showed(artefacts: list[Artifact]) -> None:
    found = advised(artefacts)
    assert (found["recommended"], found["recipe"]) == ("route", "task-arithmetic-s1")
    law, wiki = found["beside"]
    assert law["task-arithmetic-s1, actual"] == 0.6 and law["best merge, actual"] == 0.8
    assert (wiki["routed, actual"], wiki["union, actual"]) == (0.6, 0.8)
    assert wiki["routed, predicted"] == pytest.approx(0.8 * 0.95)
    assert [row["layer"] for row in found["geometry"]] == ["layer 0", "all"]
    assert found["geometry"][0]["|wiki|, % of base"] == 50.0
    assert found["costs"][9]["union: training"] == 55 * 60.0


def test_without_a_sweep_there_is_nothing_beside_and_without_an_advice_nothing(artefacts: list[Artifact]) -> None:
    assert advised(artefacts[:4])["beside"] == []
    assert advised(artefacts[:3]) == {}


def test_recall_of_the_best_merge_goes_by_its_name_and_as_best(artefacts: list[Artifact]) -> None:
    recall = actual_recall(artefacts[-1])
    assert recall["best"] == recall["ties-d0.3"] == {"law": 0.8, "wiki": 0.4}
    assert recall["union"] == {"law": 1.0, "wiki": 0.8}


def test_ways_count_the_training_of_the_corpora_and_not_the_unions(artefacts: list[Artifact]) -> None:
    rows = ways_of(artefacts, artefacts[-1])
    assert [row["way"] for row in rows] == ["union", "routed-likeliest", "ties-d0.3", "task-arithmetic-s1", "linear"]
    assert rows[2]["seconds"] == 157.0
    assert (rows[4]["seconds_a_question"], rows[1]["seconds_a_question"]) == (0.3, 0.1)


def test_a_models_bytes_are_the_weights_of_one_epoch(make: Make) -> None:
    files = ("epoch-1/a.safetensors", "epoch-2/a.safetensors", "epoch-2/b.safetensors", "epoch-2/config.json")
    assert model_bytes(make("training", "law", {}, files=files)) == 2
    assert model_bytes(make("training", "wiki", {})) == 0


def test_the_terminal_shows_every_table_and_ends_with_the_advice(artefacts: list[Artifact]) -> None:
    text = as_text(advised(artefacts))
    assert all(title in text for title in TITLES.values())
    assert text.splitlines()[-1].startswith("advice: route. A merge is expected to recall ")


def test_summary_and_report_hold_them(artefacts: list[Artifact]) -> None:
    summary: dict[str, Any] = json.loads(json.dumps(build_summary("two", artefacts, [], {}, {})))
    assert summary["advice"]["recommended"] == "route"
    assert set(summary["training"]["memories"]) == {"law", "wiki", "union"}
    printed = summary_table(summary)
    assert "held-out recall: union 0.90, routed-likeliest 0.70, ties-d0.3 0.60" in printed
    assert "advised before the sweep: route; a merge is expected" in printed
    page = render_report(summary, artefacts, [], [], {})
    assert (
        "Merge, retrain or route" in page
        and "routed-likeliest" in page
        and "seconds a question" in page
        and "best merge, actual" in page
    )
    assert "Merge, retrain or route" not in render_report(
        build_summary("two", artefacts[:2], [], {}, {}), artefacts[:2], [], [], {}
    )
