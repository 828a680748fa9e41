"""The sweep on tiny models with real merges under Ray Tune; a callable stands in for the engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from memo_ray.artifacts.place import Location, local_folder, open_place
from memo_ray.artifacts.store import Attempt, Store
from memo_ray.config.merging import DareTies, Linear, MergeRecipe, MergingConfig, Slerp, TaskArithmetic
from memo_ray.config.models import VllmModel
from memo_ray.errors import MergeError
from memo_ray.evaluation.asked import Asked
from memo_ray.evaluation.ray_evaluation import Asking, answer_row
from memo_ray.merging import ray_merging
from memo_ray.merging.checks import check
from memo_ray.merging.headers import Tensor
from memo_ray.merging.ray_merging import sweep
from memo_ray.merging.ray_trials import merge_all
from memo_ray.merging.scores import SweepProgress
from memo_ray.models.chat import ChatReply
from memo_ray.rows import Answer, Reflection, Reject, SweepRow
from tests.unit.merging.tiny import read

pytestmark = pytest.mark.usefixtures("ray_cluster")

RECIPES: tuple[MergeRecipe, ...] = (
    Linear(method="linear"),
    Slerp(method="slerp", t=0.5),
    DareTies(method="dare_ties", density=0.5, seed=1),
)
IDS = ["linear", "slerp-t0.5", "dare-ties-d0.5-seed1"]
HELD_OUT = {
    corpus: [
        Reflection(f"{corpus}-{n}", f"Who is {corpus}{n}?", f"Person{n}", "rephrase", "held_out") for n in range(4)
    ]
    + [Reflection(f"{corpus}-trained", "Who?", "Nobody", "direct", "train")]
    for corpus in ("north", "south")
}
ALSO = [Asked("q-1", "one_hop", "Who is who?", ["Somebody"])]
RECALLED = {"linear": 1, "slerp-t0.5": 4, "dare-ties-d0.5-seed1": 2}
"""How many of each corpus's four held-out questions the stand-in answers rightly."""


def run(models: Path, attempt: Attempt, ask: ray_merging.Ask | None, **settings: object) -> None:
    config = MergingConfig.model_validate({"recipes": RECIPES, "max_concurrent": 2, **settings})
    memories = {"north": models / "a", "south": models / "b"}
    sweep(config, models / "base", memories, HELD_OUT, VllmModel(engine="vllm"), 8, attempt, ALSO, ask=ask)


def stand_in(before: Callable[[str], None] = lambda system: None) -> ray_merging.Ask:
    """Answers as many held-out questions rightly as RECALLED says, and checks that there are weights to ask."""

    def ask(system: str, memory: Location, asked: Sequence[Asked]) -> Asking:
        before(system)
        assert read(local_folder(memory))["model.norm.weight"].shape == (32,)
        rows = []
        for row in asked:
            right = row.kind == "held_out" and int(row.question_id[-1]) < RECALLED.get(system, 3)
            reply = ChatReply(row.references[0] if right else "no idea", "stop", 10, 3)
            rows.append(answer_row(row, system, reply, 0.1))
        return Asking(rows)

    return ask


def new_attempt(folder: Path, progress: Path | None = None) -> Attempt:
    (folder / "attempt").mkdir(parents=True, exist_ok=True)
    return Attempt(folder / "attempt", open_place(progress or folder / "progress"), open_place(folder / "attempt"))


def published(store: Store, name: str, folder: Path) -> Location:
    """The address of a model that an artefact on S3 holds."""
    with store.attempt(f"training-{name}", "training", name * 16, {}, {}) as attempt:
        shutil.copytree(folder, attempt.folder / "epoch-1")
    made = store.find(f"training-{name}", name * 16)
    assert made is not None
    return made.location("epoch-1")


def run_until_killed(models: str, folder: str, address: str) -> None:
    """A driver of its own, which dies without a word when it is to score the second merge."""
    ray.init(address=address, log_to_driver=False)
    scored: list[str] = []

    def die(system: str) -> None:
        scored.append(system)
        if len(scored) == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    run(Path(models), new_attempt(Path(folder)), stand_in(die))


def test_a_killed_sweep_goes_on_where_it_was_and_keeps_the_best(models: Path, tmp_path: Path) -> None:
    call = "import sys; from tests.ray.test_merging import run_until_killed; run_until_killed(*sys.argv[1:])"
    address = ray.get_runtime_context().gcs_address
    command = [sys.executable, "-c", call, str(models), str(tmp_path), address]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    merges = tmp_path / "progress" / "merges"
    assert {path.name for path in merges.iterdir() if path.is_dir()} == set(IDS)
    made = {name: (merges / f"{name}.seconds.json").stat().st_mtime_ns for name in IDS}

    asked: list[str] = []
    attempt = new_attempt(tmp_path)
    run(models, attempt, stand_in(asked.append))
    assert asked == IDS[1:]  # the one that was scored is not asked again,
    # and none is merged again
    assert {name: (merges / f"{name}.seconds.json").stat().st_mtime_ns for name in IDS} == made
    assert [path.name for path in (attempt.folder / "merged").iterdir()] == ["slerp-t0.5"]
    assert attempt.facts["best"] == "slerp-t0.5"
    assert attempt.rows == {"sweep": 3, "answers": 3 * 9, "rejects": 0}


@pytest.mark.parametrize("where", ["disk", "s3"])
def test_a_sweep_makes_an_artefact_with_its_table_and_the_best_merges(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, request: pytest.FixtureRequest
) -> None:
    """Where there is room for two merges at a time, so that the second batch is merged after the first was scored."""
    monkeypatch.setattr(ray_merging, "_room", lambda folder, inputs: 2)
    said: list[tuple[int, int, str]] = []
    store = Store(tmp_path if where == "disk" else request.getfixturevalue("bucket"))
    memories: dict[str, Location] = {"north": models / "a", "south": models / "b"}
    if where == "s3":
        memories = {name: published(store, name, Path(folder)) for name, folder in memories.items()}
    with store.attempt("merging", "merging", "f" * 64, {}, {}) as attempt:
        config = MergingConfig(recipes=RECIPES, max_concurrent=2, keep=2)
        model = VllmModel(engine="vllm")
        sweep(config, models / "base", memories, HELD_OUT, model, 8, attempt, ALSO,
              lambda *step: said.append(step), stand_in())  # fmt: skip
    artifact = store.find("merging", "f" * 64)
    assert artifact is not None

    table = artifact.rows("sweep", SweepRow)
    assert [row.recipe_id for row in table] == IDS
    assert [row.recall for row in table] == [0.25, 1.0, 0.5]
    assert json.loads(table[0].recall_by_corpus) == {"north": 0.25, "south": 0.25}
    assert [json.loads(row.parameters) for row in table] == [{}, {"t": 0.5}, {"density": 0.5, "seed": 1}]
    assert all(row.merge_seconds > 0 and row.score_seconds > 0 for row in table)
    assert [row.recipe_id for row in table if row.kept] == IDS[1:]
    facts = artifact.record.facts
    assert (facts["best"], facts["kept"], facts["recall"]) == ("slerp-t0.5", IDS[1:], 1.0)
    assert (facts["chosen_on"], facts["without_held_out"]) == ({"north": 4, "south": 4}, [])
    for name in facts["kept"]:
        assert read(artifact.path(f"merged/{name}"))
    answers = artifact.rows("answers", Answer)
    assert {(row.system, row.kind) for row in answers} == {
        (name, kind) for name in IDS for kind in ("held_out", "one_hop")
    }
    assert not any("trained" in row.question_id for row in answers)
    assert artifact.rows("rejects", Reject) == []
    assert artifact.record.cost["input_tokens"] == 3 * 9 * 10

    merged = [what.removeprefix("merged ") for _, _, what in said if what.startswith("merged ")]
    assert sorted(merged) == sorted(IDS)
    counted = [done for done, _, _ in said]  # two merges may be there when the first of them is told of
    assert len(counted) == 6 and counted == sorted(counted) and counted[-1] == 6
    assert [what for _, _, what in said if what.startswith("scored ")] == [f"scored {name}" for name in IDS]
    assert "scored linear" in [what for _, _, what in said[:4]]  # before the second batch was merged


def test_what_cannot_be_swept_is_refused_before_anything_is_merged(models: Path, tmp_path: Path) -> None:
    attempt = new_attempt(tmp_path)
    memories = {"north": models / "a", "south": models / "b"}
    model = VllmModel(engine="vllm")
    trained = {corpus: [row for row in rows if row.split == "train"] for corpus, rows in HELD_OUT.items()}
    with pytest.raises(MergeError, match=r"no corpus has held-out reflections.*raise synthesis\.held_out\.share"):
        sweep(MergingConfig(), models / "base", memories, trained, model, 8, attempt)
    slerp = MergingConfig(recipes=(Slerp(method="slerp", t=0.5),))
    three = {**memories, "east": models / "c"}
    with pytest.raises(MergeError, match=r"slerp-t0\.5: slerp merges exactly 2 memories, this run has 3"):
        sweep(slerp, models / "base", three, HELD_OUT, model, 8, attempt)
    with pytest.raises(MergeError, match=r"/c: holds no config\.json"):
        sweep(MergingConfig(), models / "base", three, HELD_OUT, model, 8, attempt)
    progress = SweepProgress(attempt.progress, "questions")
    tensor = Tensor("BF16", (10**14,), models, 0, 2 * 10**14)
    vast = replace(
        check(models / "base", memories), base_tensors={"vast": tensor}, memory_tensors=[{"vast": tensor}] * 2
    )
    slerp_alone = {"slerp-t0.5": Slerp(method="slerp", t=0.5)}
    with pytest.raises(MergeError, match=r"offers .* GB; add a node with more memory"):
        merge_all(slerp_alone, models / "base", {}, progress, vast, MergingConfig(), lambda name: None)
    assert list(attempt.folder.iterdir()) == []


def test_the_next_pass_is_made_while_a_merge_is_scored(models: Path, tmp_path: Path) -> None:
    attempt = new_attempt(tmp_path)
    merges = SweepProgress(attempt.progress, "any questions")

    def wait_for_the_next(system: str) -> None:
        following = [*IDS, IDS[-1]][IDS.index(system) + 1]
        ends = time.monotonic() + 60
        while merges.merged(following) is None:
            assert time.monotonic() < ends, f"{following} is not merged while {system} is scored"
            time.sleep(0.05)

    run(models, attempt, stand_in(wait_for_the_next), overlap=True, recipes_per_pass=1, max_concurrent=1)
    assert attempt.facts["best"] == "slerp-t0.5"


def test_a_search_goes_on_from_the_scores_it_has(models: Path, tmp_path: Path) -> None:
    search = {"trials": 5, "methods": ("ties", "dare_linear"), "seed": 1, "at_once": 2}
    asked: list[str] = []
    first = new_attempt(tmp_path)
    run(models, first, stand_in(asked.append), recipes=(Linear(method="linear"),), search=search)
    assert asked[0] == "linear" and len(set(asked)) == 6
    assert {name.split("-d")[0] for name in asked[1:]} <= {"ties", "dare-linear"}
    assert first.rows["sweep"] == 6

    # As if it had been killed before the last group was scored: nothing else is merged or asked again.
    scores = next((tmp_path / "progress" / "scores").iterdir())
    shutil.rmtree(scores / asked[-1])
    again: list[str] = []
    run(models, new_attempt(tmp_path / "again", tmp_path / "progress"), stand_in(again.append),
        recipes=(Linear(method="linear"),), search=search)  # fmt: skip
    assert again == asked[-1:]


@pytest.mark.slow
def test_an_engine_asks_every_merge_with_its_own_weights(models: Path, tmp_path: Path) -> None:
    """vLLM on the tiny model: its answers are noise, so merges that differ must answer differently."""
    recipes = (Linear(method="linear"), TaskArithmetic(method="task_arithmetic", scale=10.0))
    attempt = new_attempt(tmp_path)
    memories = {"north": models / "a", "south": models / "b"}
    engine = VllmModel(engine="vllm", max_model_len=256, kv_cache_gb=0.1, enforce_eager=True)
    sweep(MergingConfig(recipes=recipes), models / "base", memories, HELD_OUT, engine, 8, attempt)
    assert attempt.cost["engine_starts"] == 1
    assert attempt.cost["output_tokens"] > 0
    from memo_ray.artifacts.tables import read_rows

    answers = read_rows(attempt.folder / "answers.parquet", Answer)
    by_system = {
        name: [row.answer for row in answers if row.system == name] for name in ("linear", "task-arithmetic-s10")
    }
    assert len(by_system["linear"]) == 8
    assert by_system["linear"] != by_system["task-arithmetic-s10"]
