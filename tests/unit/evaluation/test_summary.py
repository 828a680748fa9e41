"""The summary's figures against a small run whose figures are known."""

from __future__ import annotations

import pytest

from memo_ray.evaluation.report.highlights import cards
from memo_ray.evaluation.summary import build_summary, summary_table
from memo_ray.rows import SweepRow
from tests.unit.evaluation.conftest import SWEEP, Make, SmallRun


def test_recall_by_the_summarys_own_names(small_run: SmallRun) -> None:
    summary = small_run.summary()
    assert summary["recall"]["base"] == {"trained": 0, "held_out": 0, "one_hop": 0, "two_hop": 0}
    assert summary["recall"]["memory"] == {"trained": 1.0, "held_out": 0.5, "one_hop": 0, "two_hop": 0}
    assert summary["counts"] == {"trained": 8, "held_out": 2, "one_hop": 1, "two_hop": 1}
    assert summary["epochs"]["memory"]["trained"] == {"1": 0.25, "2": 0.625, "3": 1.0}
    assert set(summary["token_f1"]) == set(summary["exact_match"]) == {"base", "memory"}


def test_costs_counts_and_facts_of_the_artefacts(small_run: SmallRun) -> None:
    summary = small_run.summary()
    assert summary["seconds"] == {
        "setup": 3.5, "run": 20.0, "corpus": 1, "synthesis": 10.25, "training": 30, "evaluation": 5,
    }  # fmt: skip
    assert summary["engine_starts"] == {"synthesis": 2, "evaluation": 3, "total": 5}
    assert summary["reflections"] == {"direct": 6, "entities": 2, "rephrase": 2}
    assert summary["rejects"] == {"ungrounded": 3, "generation_error": 1}
    assert summary["steps"]["direct"]["lost"] == {"ungrounded": 2, "duplicate": 1}
    assert summary["training"]["final_loss"] == 0.25
    assert summary["training"]["chosen_epoch"] == 3
    assert summary["cost"]["input_tokens"] == 1000
    assert summary["cost"]["by_stage"] == {
        "synthesis": {"input_tokens": 900, "output_tokens": 80}, "evaluation": {"input_tokens": 100},
    }  # fmt: skip
    assert summary["merging"] == {}
    assert "ray" in summary["versions"]


def test_protocol_is_beside_recall(small_run: SmallRun) -> None:
    summary = small_run.summary()
    assert summary["protocol"]["n"] == 1
    assert summary["protocol"]["recall"] == 1.0
    assert summary["protocol"]["by_kind"] == {"two_hop": 1.0}
    assert "memo" not in summary["recall"]


def test_several_corpora_are_added_up(small_run: SmallRun, make: Make) -> None:
    facts = {"by_step": {"direct": {"prompts": 1, "made": 1, "kept": 0, "lost": {"duplicate": 1}}}}
    small_run.artefacts += [
        make("synthesis", "other", {}, facts, engine_starts=1, seconds=2.0),
        make("training", "other", {}, {"final_loss": 0.5}, seconds=1.0),
        make("merging", "", {"sweep": (SWEEP, SweepRow)}, {"best": "ties-0.3"}, engine_starts=1, seconds=4.0),
    ]
    summary = small_run.summary()
    assert summary["steps"]["direct"] == {
        "prompts": 13, "checks": 3, "made": 10, "kept": 6, "failed": {"unparsed": 4},
        "lost": {"ungrounded": 2, "duplicate": 2},
    }  # fmt: skip
    assert summary["engine_starts"]["total"] == 7
    assert summary["seconds"]["synthesis"] == 12.25
    assert {name: facts["final_loss"] for name, facts in summary["training"]["memories"].items()} == {
        "isles": 0.25, "other": 0.5,
    }  # fmt: skip
    assert "final_loss" not in summary["training"]
    assert summary["merging"]["best"] == "ties-0.3"
    assert [row["recipe_id"] for row in summary["merging"]["table"]] == ["ties-0.3", "linear"]
    assert summary["merging"]["table"][0]["parameters"] == {"density": 0.3}
    assert summary["merging"]["table"][1]["recall_by_corpus"] == {"isles": 0.5, "other": 0.0}


def test_how_near_held_out_questions_are_to_trained_ones(make: Make) -> None:
    overlap = {"isles": {"held_out": 3, "too_close": 1, "largest": 0.7, "mean": 0.4}}
    found = build_summary("small", [make("evaluation", "", {}, {"overlap": overlap})], [], {}, {})
    assert found["overlap"] == overlap


def test_what_is_too_long_to_train_on_is_told(small_run: SmallRun, monkeypatch: pytest.MonkeyPatch) -> None:
    (training,) = [made for made in small_run.artefacts if made.record.stage == "training"]
    assert "answers cut" not in summary_table(small_run.summary())
    monkeypatch.setitem(training.record.facts, "truncated", 2)  # other tests see the same artefact
    monkeypatch.setitem(training.record.facts, "left_out", 1)
    summary = small_run.summary()
    assert "final loss 0.250; 2 answers cut, 1 reflections left out" in summary_table(summary)
    assert [card.value for card in cards(summary) if card.label == "too long"] == ["3"]


def test_nothing_finished_is_a_summary_too() -> None:
    summary = build_summary("empty", [], [], {}, {})
    assert summary["recall"] == summary["counts"] == summary["seconds"] == {}
    assert summary["protocol"] == {"n": 0}
    assert "recall" in summary_table(summary)


@pytest.mark.parametrize(
    "text",
    ["base", "memory (epoch-3)", "1.00", "held out", "recall 1.00 on 1 questions", "6 direct", "final loss 0.250"],
)
def test_table_for_the_terminal(small_run: SmallRun, text: str) -> None:
    table = summary_table(small_run.summary())
    assert text in table
    assert "\x1b" not in table
    assert max(map(len, table.splitlines())) <= 100
