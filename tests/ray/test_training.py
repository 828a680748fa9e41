"""Training under Ray Train: one worker, two over gloo, and a driver or a worker that is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from memo_ray.artifacts.place import Place, open_place
from memo_ray.artifacts.store import Attempt, Store
from memo_ray.config.training import StudyConfig, TrainingConfig
from memo_ray.errors import TrainingError
from memo_ray.rows import Reflection
from memo_ray.training.checkpoints import History, newest_state

os.environ["RAY_TRAIN_HEALTH_CHECK_INTERVAL_S"] = "0.5"  # how often Ray Train looks at its workers; 2 s otherwise

EPOCHS, STEPS = 12, 48
WORKER = "ray::RayTrainWorker"


def reflections(count: int = 15, split: str = "train") -> list[Reflection]:
    return [
        Reflection(
            f"r{n}", f"Who kept the lighthouse in year {n}?", "The harbour master. " * (n % 4 + 1), "direct", split
        )
        for n in range(count)
    ]


def config(**changes: Any) -> TrainingConfig:
    settings = {
        "epochs": EPOCHS, "reflections_per_step": 4, "learning_rate": 3e-3, "max_sequence_length": 256,
        "precision": "fp32", "gradient_checkpointing": False, "state_every_s": 0,
    }  # fmt: skip
    return TrainingConfig(**settings | changes)


def attempt_in(folder: Path, name: str = "attempt") -> Attempt:
    (folder / name).mkdir(parents=True)
    return Attempt(folder / name, open_place(folder / "progress"), open_place(folder / name))


def train(settings: TrainingConfig, base: Path, folder: Path, **more: Any) -> Attempt:
    from memo_ray.training.ray_training import train_memory

    attempt = attempt_in(folder)
    train_memory(settings, [*reflections(), *reflections(3, "held_out")], base, attempt, **more)
    return attempt


def losses_of(progress: Place) -> list[float]:
    history = History.load(progress)
    assert history
    return [loss for epoch in history.epochs for loss in epoch.losses]


def wait_for(what: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
    return found


def trained_epochs(progress: Path) -> int:
    state = newest_state(open_place(progress / "states"))
    history = History.load(state) if state else None
    return len(history.epochs) if history else 0


@pytest.fixture(scope="module")
def whole(ray_cluster: None, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Attempt:
    """A training that nothing disturbed; what it told on the way is in its facts under `told`."""
    told: list[tuple[int, int, str]] = []
    attempt = train(config(), tiny_model, tmp_path_factory.mktemp("whole"), on_progress=lambda *note: told.append(note))
    attempt.facts["told"] = told
    return attempt


def test_a_memory_of_every_epoch_is_written(whole: Attempt) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folders = sorted(path.name for path in whole.folder.iterdir())
    assert folders == sorted(f"epoch-{number}" for number in range(1, EPOCHS + 1))
    last = whole.folder / f"epoch-{EPOCHS}"
    assert {path.suffix for path in last.iterdir()} == {".json", ".jinja", ".safetensors"}
    tokenizer = AutoTokenizer.from_pretrained(last)
    model: Any = AutoModelForCausalLM.from_pretrained(last)
    turns = [{"role": "user", "content": "Who kept the lighthouse in year 3?"}]
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=False)
    said = model.generate(ids, max_new_tokens=60, do_sample=False)[0, ids.shape[1] :]
    assert tokenizer.decode(said).startswith("The harbour master. ")
    assert said[-1] == tokenizer.eos_token_id, "the memory must stop by itself"


def test_facts_say_what_happened(whole: Attempt) -> None:
    facts = whole.facts
    assert (facts["reflections"], facts["steps"], facts["workers"]) == (15, STEPS, 1)
    assert len(facts["loss_by_step"]) == facts["steps"]
    assert facts["final_loss"] == facts["loss_by_epoch"][-1] < 0.5 * facts["loss_by_epoch"][0]
    assert facts["tokens"] > facts["answer_tokens"] > 0
    assert facts["resumed_from"] == []
    assert facts["packed"]
    assert whole.cost == {"trained_tokens": facts["tokens"]}
    done, total, note = facts["told"][-1]
    assert done <= total == facts["steps"]
    assert "tokens/s" in note


def test_a_finished_training_is_not_repeated(whole: Attempt, tiny_model: Path) -> None:
    from memo_ray.training.ray_training import train_memory

    again = attempt_in(whole.folder.parent, "again")
    clock = time.monotonic()
    train_memory(config(), reflections(), tiny_model, again)
    assert time.monotonic() - clock < 5
    assert again.facts == {name: value for name, value in whole.facts.items() if name != "told"}
    assert (again.folder / "epoch-1" / "model.safetensors").is_file()
    few = attempt_in(whole.folder.parent, "few")
    train_memory(config(keep_epochs=2), reflections(), tiny_model, few)
    assert sorted(path.name for path in few.folder.iterdir()) == [f"epoch-{EPOCHS - 1}", f"epoch-{EPOCHS}"]


def test_two_workers_take_the_same_steps_as_one(whole: Attempt, tiny_model: Path, tmp_path: Path) -> None:
    attempt = train(config(workers=2), tiny_model, tmp_path)
    assert attempt.facts["workers"] == 2
    assert attempt.facts["loss_by_step"] == pytest.approx(whole.facts["loss_by_step"], abs=1e-4)
    assert attempt.facts["loss_by_step"][:20] == pytest.approx(whole.facts["loss_by_step"][:20], abs=1e-5)
    assert attempt.facts["tokens"] == whole.facts["tokens"]


def test_study_follows_the_epochs_and_makes_a_memory_more(ray_cluster: None, tiny_model: Path, tmp_path: Path) -> None:
    attempt = train(config(epochs=1, workers=2, study=StudyConfig(times=2)), tiny_model, tmp_path)
    study = attempt.facts["study"]
    assert study["epochs"] == [2] and study["wrong_before"] == 15  # one epoch is too short for any of them
    assert sorted(path.name for path in attempt.folder.iterdir()) == ["epoch-1", "epoch-2"]
    assert attempt.facts["steps"] == 4 + 8  # 15 reflections, and each of them twice
    assert attempt.facts["final_loss"] == attempt.facts["loss_by_epoch"][0] > attempt.facts["loss_by_epoch"][1]


def test_a_killed_worker_is_replaced_and_the_losses_are_the_same(
    whole: Attempt, tiny_model: Path, tmp_path: Path
) -> None:
    def kill() -> None:
        wait_for(lambda: trained_epochs(tmp_path / "progress") >= 2)
        ours = psutil.Process().children(recursive=True)
        (worker,) = [process for process in ours if process.cmdline()[:1] == [WORKER]]
        worker.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    attempt = train(config(max_failures=1), tiny_model, tmp_path)
    killer.join()
    (after,) = attempt.facts["resumed_from"]
    assert STEPS // EPOCHS <= after < STEPS
    assert losses_of(attempt.progress) == losses_of(whole.progress)


DRIVER = """
import pathlib, sys, ray
from memo_ray.artifacts.store import Attempt
from memo_ray.config.training import StudyConfig, TrainingConfig
from memo_ray.training.ray_training import train_memory
from tests.ray.test_training import attempt_in, reflections
ray.init(address="local", num_cpus=1, include_dashboard=False, _temp_dir=sys.argv[4], log_to_driver=False)
config = TrainingConfig.model_validate_json(sys.argv[1])
train_memory(config, reflections(), pathlib.Path(sys.argv[2]), attempt_in(pathlib.Path(sys.argv[3])))
"""


def test_a_killed_driver_resumes_with_the_same_losses(whole: Attempt, tiny_model: Path, tmp_path: Path) -> None:
    import shutil
    import tempfile

    temp = tempfile.mkdtemp(prefix="r-", dir="/tmp")
    command = [sys.executable, "-c", DRIVER, config().model_dump_json(), str(tiny_model), str(tmp_path), temp]
    driver = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: driver.poll() is not None or trained_epochs(tmp_path / "progress") >= 2)
        assert driver.poll() is None, "the driver ended by itself"
        family = driver.children(recursive=True)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        for process in psutil.wait_procs(family, timeout=20)[1]:
            process.kill()
    finally:
        if driver.poll() is None:
            driver.kill()
        shutil.rmtree(temp, ignore_errors=True)
    shutil.rmtree(tmp_path / "attempt")  # what the store does before the next attempt
    attempt = train(config(), tiny_model, tmp_path)
    (after,) = attempt.facts["resumed_from"]
    assert STEPS // EPOCHS <= after < STEPS
    assert losses_of(attempt.progress) == losses_of(whole.progress)


def test_on_s3_it_resumes_with_the_same_losses_and_its_memories_never_pass_here(
    whole: Attempt, bucket: str, tiny_model: Path
) -> None:
    """Workers read and write the bucket themselves; a run that is cut off goes on from what is there."""
    from memo_ray.training.ray_training import train_memory

    store = Store(bucket)

    def run(**more: Any) -> None:
        with store.attempt("training-a", "training", "1" * 64, {}, {}) as attempt:
            train_memory(config(), reflections(), tiny_model, attempt, **more)

    def cut(done: int, total: int, note: str) -> None:
        if done > total // 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(on_progress=cut)
    progress = store.place.child("training-a/1111111111111111/progress")
    wait_for(lambda: History.load(progress))
    run()
    made = store.find("training-a", "1" * 64)
    assert made is not None
    assert made.record.facts["loss_by_step"] == whole.facts["loss_by_step"]
    assert {entry.path.split("/")[0] for entry in made.record.files} == {f"epoch-{n}" for n in range(1, EPOCHS + 1)}
    last = f"epoch-{EPOCHS}"
    weights = [folder / "model.safetensors" for folder in (made.path(last), whole.folder / last)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    assert list(progress.names()) == []


def test_a_loss_that_is_no_number_is_not_tried_again(ray_cluster: None, tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss is nan at step|gradients .* were not finite"):
        train(config(learning_rate=1e30, max_grad_norm=1e30, reflections_per_step=2), tiny_model, tmp_path)
    assert History.load(open_place(tmp_path / "progress")) is None


def test_mistakes_are_named_before_anything_starts(ray_cluster: None, tiny_model: Path, tmp_path: Path) -> None:
    from memo_ray.training.ray_training import train_memory

    with pytest.raises(TrainingError, match=r"training\.workers: 3 of them need 6 CPUs, but the cluster has 2; lower"):
        train(config(workers=3, cpus_per_worker=2), tiny_model, tmp_path / "a")
    with pytest.raises(TrainingError, match="no reflections to train on"):
        train_memory(config(), reflections(3, "held_out"), tiny_model, attempt_in(tmp_path / "b"))


def one_is_too_small(job: dict[str, Any]) -> dict[str, Any]:
    """A worker like the real one, of whom the second is out of memory while the first waits for it."""
    import ray.train
    import ray.train.collective
    import torch

    from memo_ray.training.blame import out_of_memory
    from memo_ray.training.ray_training import outcome_of

    def work() -> dict[str, Any]:
        begun = Path(job["progress"].url, f"begun-{uuid.uuid4().hex}")
        begun.touch()
        with out_of_memory(TrainingConfig(), workers=2):
            if ray.train.get_context().get_world_rank() == 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            ray.train.collective.barrier()
        return {}

    return outcome_of(work, job["progress"])


def test_one_worker_out_of_memory_ends_all_with_the_remedy(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memo_ray.training import ray_training

    monkeypatch.setattr(ray_training, "train_worker", one_is_too_small)
    progress = open_place(tmp_path / "progress")
    for again in range(2):  # what an earlier command has left ends nothing
        with pytest.raises(TrainingError, match=r"^training: out of memory; set micro_batch_tokens: 1024 or"):
            ray_training.run_workers(config(workers=2), tmp_path, progress, 0, False, lambda *_: None)
        assert len(list((tmp_path / "progress").glob("begun-*"))) == 2 * (again + 1), "nobody worked a second time"
