"""Which merge is best, and what a killed sweep finds again."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from memo_ray.artifacts.place import open_place
from memo_ray.config.merging import Linear, Ties
from memo_ray.merging.scores import Quality, Scored, SweepProgress, quality, rank, sweep_rows
from memo_ray.rows import Answer, Reject


def answer(question_id: str, recalled: bool, kind: str = "held_out", token_f1: float | None = None) -> Answer:
    return Answer(
        question_id, "linear", kind, "Who?", ["Ada"], "Ada" if recalled else "Bo", recalled,
        float(recalled) if token_f1 is None else token_f1, recalled, 0.1, 5, 2,
    )  # fmt: skip


def test_every_corpus_counts_the_same_and_other_kinds_do_not_count() -> None:
    answers = [answer(f"large-{n}", n < 90) for n in range(100)]
    answers += [answer("small-0", True), answer("small-1", False)]
    answers += [answer("small-0", True, kind="one_hop"), answer("large-99", True, kind="trained")]
    ids = {"large": {f"large-{n}" for n in range(100)}, "small": {"small-0", "small-1"}}
    found = quality(answers, ids)
    assert found.recall_by_corpus == {"large": 0.9, "small": 0.5}
    assert found.recall == 0.7
    assert found.token_f1 == 0.7


def test_a_question_that_could_not_be_asked_is_neither_right_nor_wrong() -> None:
    assert quality([answer("x", True)], {"one": {"x", "refused"}}).recall == 1
    assert quality([], {"one": {"refused"}}).recall == 0


def test_ties_are_broken_by_the_worst_corpus_then_token_f1_then_order() -> None:
    found = {
        "first": Quality({"a": 0.5, "b": 0.5}, 0.2),
        "uneven": Quality({"a": 1.0, "b": 0.0}, 0.9),
        "closer": Quality({"a": 0.5, "b": 0.5}, 0.3),
        "best": Quality({"a": 0.9, "b": 0.2}, 0.1),
        "last": Quality({"a": 0.5, "b": 0.5}, 0.2),
    }
    assert rank(found) == ["best", "closer", "first", "last", "uneven"]


def test_the_table_holds_every_recipe_in_its_order() -> None:
    recipes = {"linear": Linear(method="linear"), "ties-d0.3": Ties(method="ties", density=0.3)}
    scored = {name: Scored([], [], 2.5, 1.5) for name in recipes}
    qualities = {"linear": Quality({"a": 0.5, "b": 0.0}, 0.1), "ties-d0.3": Quality({"a": 1.0, "b": 0.5}, 0.6)}
    one, two = sweep_rows(recipes, scored, qualities, ["ties-d0.3"])
    assert (one.recipe_id, one.method, one.parameters, one.kept) == ("linear", "linear", "{}", False)
    assert (two.recipe_id, two.recall, two.token_f1, two.kept) == ("ties-d0.3", 0.75, 0.6, True)
    assert (two.merge_seconds, two.score_seconds) == (2.5, 1.5)
    assert json.loads(two.parameters) == {"density": 0.3}
    assert json.loads(two.recall_by_corpus) == {"a": 1.0, "b": 0.5}


def merge(progress: SweepProgress) -> None:
    with progress.merging(["linear"]) as folders:
        time.sleep(0.01)
        (folders["linear"] / "model.safetensors").write_bytes(b"weights")


def test_merges_and_scores_are_found_again(tmp_path: Path) -> None:
    place = open_place(tmp_path)
    before = SweepProgress(place, "questions")
    assert before.merged("linear") is None and not before.is_scored("linear")
    merge(before)
    rejects = [Reject("y", "evaluation", "linear/held_out", "generation_error", "too long")]
    before.finish_score("linear", [answer("x", True)], rejects, 1.5)

    after = SweepProgress(place, "questions")
    assert after.merged("linear") == tmp_path / "merges" / "linear"
    scored = after.scored("linear")
    assert scored == Scored([answer("x", True)], rejects, scored.merge_seconds, 1.5) and scored.merge_seconds >= 0.01
    after.remove_merge("linear")
    assert after.merged("linear") is None
    assert after.scored("linear").merge_seconds == scored.merge_seconds


def test_scores_of_other_questions_are_not_reused(tmp_path: Path) -> None:
    SweepProgress(open_place(tmp_path), "questions").finish_score("linear", [], [], 1)
    assert not SweepProgress(open_place(tmp_path), "others").is_scored("linear")


def test_a_merge_that_did_not_end_well_is_not_finished(tmp_path: Path) -> None:
    progress = SweepProgress(open_place(tmp_path), "questions")

    def fail() -> None:
        with progress.merging(["linear"]) as folders:
            (folders["linear"] / "model.safetensors").write_bytes(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert progress.merged("linear") is None
    merge(progress)
    assert progress.merged("linear") is not None


def test_what_a_killed_sweep_left_half_written_is_removed_and_merges_stay(tmp_path: Path) -> None:
    progress = SweepProgress(open_place(tmp_path), "questions")
    merge(progress)
    for name in (".ties-d0.3.0123", "..pass-0123.partial"):
        (tmp_path / "merges" / name).mkdir()
    progress.clear()
    assert sorted(path.name for path in (tmp_path / "merges").iterdir()) == ["linear", "linear.seconds.json"]


def test_a_pass_that_is_made_again_removes_what_the_lost_one_left_and_no_other_passes_folders(tmp_path: Path) -> None:
    progress = SweepProgress(open_place(tmp_path), "questions")
    under_way = [".linear-2.0123", ".linear.5.0123", ".ties-d0.3.0123"]
    for name in (".linear.0123", *under_way):
        (tmp_path / "merges" / name).mkdir(parents=True)
    with progress.merging(["linear"]) as folders:
        assert not (tmp_path / "merges" / ".linear.0123").exists()
        assert folders["linear"].is_dir()
    assert sorted(path.name for path in (tmp_path / "merges").glob(".*")) == under_way
