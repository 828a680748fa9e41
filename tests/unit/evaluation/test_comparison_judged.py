from __future__ import annotations

from pathlib import Path

import pytest

from memo_ray.artifacts.store import Artifact
from memo_ray.errors import GenerationError
from tests.unit.evaluation.side_by_side import ASKED, accuracy, executive, judge, run


def test_a_judge_that_answers_nonsense_counts_as_nothing(isles: Artifact, tmp_path: Path) -> None:
    def nonsense(prompt: str) -> str:
        return "looks fine to me" if ASKED["wall"] in prompt or "cannot be used" in prompt else judge(prompt)

    compared = run(isles, tmp_path, judge=nonsense)
    assert compared.table is not None
    assert compared.table.cells["no_context"]["musique"].unjudged == 2
    assert accuracy(compared)["bm25"] == 1.0  # of three questions, not of four
    assert compared.table.cells["bm25"]["musique"].figures["accuracy"].questions == 3
    rejects = [row for row in compared.rejects if row.reason == "unjudged"]
    assert len(rejects) == 4 * 2 and "not valid JSON" in rejects[0].detail


def test_what_was_not_judged_still_has_the_scores_that_need_no_judge(isles: Artifact, tmp_path: Path) -> None:
    def shy(prompt: str) -> str:
        return "no" if ASKED["wall"] in prompt or "cannot be used" in prompt else judge(prompt)

    table = run(isles, tmp_path, judge=shy).table
    assert table is not None
    figures = table.cells["bm25"]["musique"].figures
    assert {name: figure.questions for name, figure in figures.items()} == {
        "accuracy": 3, "token_f1": 4, "exact_match": 4, "contained": 4,
    }  # fmt: skip


def test_a_judge_that_never_replies_is_an_outage_and_not_a_result(isles: Artifact, tmp_path: Path) -> None:
    asked: list[str] = []

    def counted(prompt: str) -> str:
        asked.append(prompt)
        return executive(prompt)

    with pytest.raises(GenerationError, match=r"comparison\.judge: judged nothing: endpoint .* answered status 503"):
        run(isles, tmp_path, executive=counted, judge=lambda prompt: 503)
    before = len(asked)
    assert accuracy(run(isles, tmp_path, executive=counted))["bm25"] == 1.0 and len(asked) == before


def test_verdicts_are_kept_as_answers_are(isles: Artifact, tmp_path: Path) -> None:
    asked: list[str] = []

    def counted(prompt: str) -> str:
        asked.append(prompt)
        return judge(prompt)

    first = run(isles, tmp_path, judge=counted)
    before = len(asked)
    again = run(isles, tmp_path, judge=counted)
    assert before and len(asked) == before and again.answers == first.answers


def test_half_a_surrogate_pair_in_a_verdict_is_no_crash(isles: Artifact, tmp_path: Path) -> None:
    compared = run(isles, tmp_path, judge=lambda prompt: '{"reason": "\\ud800x\ud800", "score": 1}', seeds=[0])
    assert {row.reason for row in compared.answers} == {"x?"}
