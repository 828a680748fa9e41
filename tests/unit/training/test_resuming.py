"""A run that is cut off and resumed, between epochs or within one, by as many workers or others."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from memo_ray.artifacts.place import Place, open_place
from memo_ray.config.training import StudyConfig, TrainingConfig
from memo_ray.errors import TrainingError
from memo_ray.training.background import HostCopies
from memo_ray.training.checkpoints import History, newest_state

Run = Callable[..., tuple[History, Place | None]]
Settings = Callable[..., TrainingConfig]

TOLERANCE = 1e-4
"""With other workers gradients are summed in another order, which is the last bits of float32 a step; over the few
steps here AdamW makes that 1e-5 at most."""

WORKER = """
import itertools, sys
from pathlib import Path
import torch.distributed as dist
from memo_ray.artifacts.place import open_place
from memo_ray.config.training import StudyConfig, TrainingConfig
from memo_ray.training.checkpoints import newest_state
from memo_ray.training.job import Job
from memo_ray.training.loop import train
config, base, progress, leave_after, threads = sys.argv[1:]
dist.init_process_group("gloo")
asked = itertools.count(1)
job = Job(TrainingConfig.model_validate_json(config), Path(base), open_place(progress), 0, int(threads),
          leaving=lambda: next(asked) == int(leave_after))
train(job, newest_state(job.states))
"""


def start(
    workers: int, config: TrainingConfig, base: Path, progress: Place, leave_after: int = 0
) -> list[subprocess.Popen[bytes]]:
    """A group of processes that train from the newest state there is."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "DS_ACCELERATOR": "cpu"}
    group["WORLD_SIZE"] = str(workers)
    threads = max(1, torch.get_num_threads() // workers)  # as many as here when it is alone: sums are then the same
    given = (config.model_dump_json(), str(base), progress.url, str(leave_after), str(threads))
    command = [sys.executable, "-c", WORKER, *given]
    return [
        subprocess.Popen(command, env=os.environ | group | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(workers)
    ]


def run_pair(config: TrainingConfig, base: Path, progress: Place, leave_after: int = 0) -> History:
    """Train on a group of two processes; the history that they leave behind."""
    processes = start(2, config, base, progress, leave_after)
    try:
        assert [process.wait(timeout=300) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    history = History.load((newest_state(progress.child("states")) or progress) if leave_after else progress)
    assert history is not None
    return history


def losses(history: History) -> list[float]:
    return [loss for epoch in history.epochs for loss in epoch.losses]


@pytest.mark.parametrize("after", [6, 8], ids=["within an epoch", "between two"])
def test_resuming_ends_with_exactly_the_same_losses_and_weights(
    run: Run, settings: Settings, after: int, tiny_model: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    config = settings(epochs=3)
    whole, _ = run(config, tiny_model, tmp_path / "whole")
    cut, state = run(config, tiny_model, tmp_path / "cut", leave_after=after)
    assert state is not None and cut.steps == after
    resumed, _ = run(config, tiny_model, tmp_path / "cut", resume=state)
    assert losses(resumed) == losses(whole)
    assert resumed.resumed_from == [after]
    assert [epoch.tokens for epoch in resumed.epochs] == [epoch.tokens for epoch in whole.epochs]
    one, other = (load_file(tmp_path / name / "models/epoch-3/model.safetensors") for name in ("whole", "cut"))
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)], ids=["one then two", "two then one"])
@pytest.mark.parametrize("where", ["disk", "s3"])
def test_another_number_of_workers_goes_on_with_the_same_steps(
    run: Run, settings: Settings, where: str, before: int, after: int, tiny_model: Path, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    config = settings(epochs=3)
    whole, _ = run(config, tiny_model, tmp_path / "whole")
    root = str(tmp_path / "cut") if where == "disk" else f"{request.getfixturevalue('bucket')}/cut"
    progress = open_place(root)
    if before == 1:
        cut, _ = run(config, tiny_model, root, leave_after=6)
        ended = run_pair(config, tiny_model, progress)
    else:
        with progress.storing("examples") as folder:
            shutil.copytree(tmp_path / "whole" / "examples", folder, dirs_exist_ok=True)
        cut = run_pair(config, tiny_model, progress, leave_after=6)
        ended, _ = run(config, tiny_model, root, resume=newest_state(progress.child("states")))
    assert (cut.steps, cut.workers) == (6, before)
    assert (ended.workers, ended.resumed_from) == (after, [6])
    assert losses(ended) == pytest.approx(losses(whole), abs=TOLERANCE)
    assert [epoch.tokens for epoch in ended.epochs] == [epoch.tokens for epoch in whole.epochs]
    # Fresh moments would be seen at once: the first step after resuming is as near as the first of all.
    assert losses(ended)[7] == pytest.approx(losses(whole)[7], abs=1e-5)


def test_a_kill_in_the_midst_of_saves_costs_nothing_but_time(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    config = settings(epochs=40, state_every_s=0)
    whole, _ = run(config, tiny_model, tmp_path / "whole")
    progress = open_place(tmp_path / "cut")
    shutil.copytree(tmp_path / "whole" / "examples", tmp_path / "cut" / "examples")
    (worker,) = start(1, config, tiny_model, progress)
    try:
        while (state := newest_state(progress.child("states"))) is None or Path(state.url).name < "step-00000009":
            assert worker.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
    finally:
        worker.send_signal(signal.SIGKILL)  # at whatever it was just writing: it saves all the time
        worker.wait()
    state = newest_state(progress.child("states"))
    assert state is not None
    resumed, _ = run(config, tiny_model, tmp_path / "cut", resume=state)
    (after,) = resumed.resumed_from
    assert 9 <= after < whole.steps
    assert losses(resumed) == losses(whole)
    last = "models/epoch-40/model.safetensors"
    assert (tmp_path / "cut" / last).read_bytes() == (tmp_path / "whole" / last).read_bytes()


def test_state_is_saved_by_the_clock_and_only_the_newest_is_kept(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    run(settings(), tiny_model, tmp_path / "seldom")
    assert not (tmp_path / "seldom" / "states").exists()
    assert (tmp_path / "seldom" / "models" / "epoch-1" / "model.safetensors").is_file()
    history, state = run(settings(state_every_s=0), tiny_model, tmp_path / "often")
    assert state is not None and history.steps == 8
    assert open_place(tmp_path / "often" / "states").folders() == [Path(state.url).name]


def test_of_many_epochs_only_the_last_models_may_be_kept(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    whole, _ = run(settings(epochs=4), tiny_model, tmp_path / "all")
    config = settings(epochs=4, keep_epochs=2)
    _, state = run(config, tiny_model, tmp_path / "few", leave_after=10)
    assert open_place(tmp_path / "few" / "models").folders() == ["epoch-1", "epoch-2"]
    history, _ = run(config, tiny_model, tmp_path / "few", resume=state)
    assert open_place(tmp_path / "few" / "models").folders() == ["epoch-3", "epoch-4"]
    assert losses(history) == losses(whole), "what is kept changes nothing that is learnt"
    assert open_place(tmp_path / "all" / "models").folders() == [f"epoch-{n}" for n in range(1, 5)]


def test_half_written_state_is_not_found_and_is_removed(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    _, state = run(settings(), tiny_model, tmp_path, leave_after=4)
    half = tmp_path / "states" / "step-00000006-killed"
    (half / "worker-00000").mkdir(parents=True)
    assert state is not None and newest_state(open_place(tmp_path / "states")) == state
    run(settings(), tiny_model, tmp_path, resume=state)
    assert not half.exists()


def test_the_state_of_another_model_is_refused(run: Run, settings: Settings, tiny_model: Path, tmp_path: Path) -> None:
    _, state = run(settings(), tiny_model, tmp_path, leave_after=2)
    assert state is not None
    layout = json.loads(state.get("layout.json") or b"")
    layout["groups"][0]["parameters"] |= {"model.model.embed_tokens.weight": 7}
    state.put("layout.json", json.dumps(layout).encode())
    with pytest.raises(TrainingError, match=r"step-00000002-\w+: is the state of another model; use the settings"):
        run(settings(), tiny_model, tmp_path, resume=state)


def test_the_state_of_another_recipe_is_refused_and_left_as_it_is(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    _, state = run(settings(), tiny_model, tmp_path, leave_after=2)
    other = settings(learning_rate=1e-3, reflections_per_step=5, study=StudyConfig())
    with pytest.raises(TrainingError, match=r"another recipe \(learning_rate, reflections_per_step, study\); use the"):
        run(other, tiny_model, tmp_path, resume=state)
    assert state is not None and newest_state(open_place(tmp_path / "states")) == state
    # What only says where and how fast is no recipe.
    faster = settings(micro_batch_tokens=64, gradient_checkpointing=True, state_every_s=1)
    history, _ = run(faster, tiny_model, tmp_path, resume=state)
    assert history.resumed_from == [2]


def test_what_cannot_be_saved_ends_the_training_and_leaves_the_last_good_state(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    _, state = run(settings(epochs=3), tiny_model, tmp_path, leave_after=2)
    assert state is not None
    (tmp_path / "models").write_text("a file where a folder should be")
    with pytest.raises(RuntimeError, match=r"training: worker 1 of 1 could not save: (FileExists|NotADirectory)Error"):
        run(settings(epochs=3), tiny_model, tmp_path, resume=state)
    assert newest_state(open_place(tmp_path / "states")) == state


def test_no_memory_left_for_a_save_says_what_takes_less(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(HostCopies, "take", full)
    # Copies take as much whatever is computed at once.
    with pytest.raises(TrainingError, match=r"^training: out of memory; set precision: bf16 or lora: \{\}$"):
        run(settings(state_every_s=0), tiny_model, tmp_path)
