"""The training stage on Ray Train: starts the workers, restarts them after a failure, and collects the memory.

Reflections and a base model go in; a Hugging Face folder for every epoch and the losses come out.
"""

from __future__ import annotations

import json
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError, get_context
from ray.train.torch import TorchConfig, TorchTrainer

from memo_ray.artifacts.store import Attempt
from memo_ray.config.training import TrainingConfig
from memo_ray.errors import MemoError, TrainingError
from memo_ray.rows import Reflection
from memo_ray.training.deepspeed import environment
from memo_ray.training.examples import encode
from memo_ray.training.loop import Task, train

Progress = Callable[[int, int, str], None]

OUTCOME = "outcome.json"
"""What rank 0 leaves in the state folder when it has ended: the history, or what went wrong."""


def train_memory(
    config: TrainingConfig,
    reflections: list[Reflection],
    base: Path,
    attempt: Attempt,
    progress: Progress | None = None,
) -> None:
    """Fine-tune `base` on the `train` rows of `reflections` (paper, Section 4.2): `epoch-1` ... in `attempt.folder`.

    Resumes from `attempt.progress`. Facts: losses by step and epoch, tokens, answer tokens, pad share, truncated,
    tokens per second. Raises TrainingError with the remedy; needs ray to be initialised.
    """
    chosen = [row for row in reflections if row.split == "train"]
    if not chosen:
        raise TrainingError("training: there are no reflections to train on; look at the rejects of synthesis")
    gpu = ray.cluster_resources().get("GPU", 0) >= 1
    check_room(config, gpu)
    task, truncated = make_task(config, chosen, base, attempt.progress)
    (Path(task.state) / "models").mkdir(exist_ok=True)
    with watching(attempt.progress / "progress.json", progress):
        history = run(task, gpu, attempt.progress / "ray")
    for epoch in range(1, config.epochs + 1):
        shutil.move(attempt.progress / "models" / f"epoch-{epoch}", attempt.folder / f"epoch-{epoch}")
    attempt.facts |= facts_of(history, config, len(chosen), truncated)
    attempt.add_cost(trained_tokens=history["tokens"])
    if gpu:
        attempt.add_cost(gpu_seconds=round(history["seconds"] * config.workers, 3))


def make_task(config: TrainingConfig, reflections: list[Reflection], base: Path, state: Path) -> tuple[Task, int]:
    """What the workers need, and how many reflections were truncated."""
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(base))
    limit = getattr(AutoConfig.from_pretrained(str(base)), "max_position_embeddings", None)
    # A longer packed row is no problem, since positions restart; a longer example is.
    length = min(config.max_sequence_length, limit or config.max_sequence_length)
    examples, truncated = encode(reflections, tokenizer, length)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    return Task(config, str(base), str(state), [(e.tokens, e.answer_start) for e in examples], int(pad)), truncated


def check_room(config: TrainingConfig, gpu: bool) -> None:
    """Raise TrainingError when the cluster can never hold the workers."""
    kind, each = ("GPU", 1) if gpu else ("CPU", config.cpus_per_worker)
    there = int(ray.cluster_resources().get(kind, 0))
    if config.workers * each > there:
        raise TrainingError(
            f"training.workers: {config.workers} workers need {config.workers * each} {kind}s, the cluster has {there}; "
            "lower workers or cpus_per_worker"
        )


def run(task: Task, gpu: bool, storage: Path) -> dict[str, Any]:
    """Run the workers to the end and return the history that rank 0 reported."""
    config = task.config
    variables = environment(gpu=gpu)
    trainer = TorchTrainer(
        worker,
        train_loop_config={"task": task},
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        scaling_config=ScalingConfig(
            num_workers=config.workers,
            use_gpu=gpu,
            resources_per_worker=None if gpu else {"CPU": config.cpus_per_worker},
        ),
        run_config=RunConfig(
            # Resuming is by the state folder, whose name never changes; Ray's own record of a run starts anew.
            name=uuid.uuid4().hex,
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=config.max_failures),
            worker_runtime_env={"env_vars": variables},
        ),
    )
    outcome = Path(task.state) / OUTCOME
    outcome.unlink(missing_ok=True)
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise failure_of(error) from error
    found = json.loads(outcome.read_text())
    if "failed" in found:
        raise TrainingError(found["failed"])
    return found


def worker(config: dict[str, Any]) -> None:
    """What every Ray Train worker runs. A user's mistake is reported, since a restart would only repeat it."""
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(config["task"].config.cpus_per_worker)
    try:
        outcome = train(config["task"])
    except MemoError as error:
        outcome = {"failed": str(error)}
    if get_context().get_world_rank() == 0:
        # Ray Train keeps metrics only with a checkpoint of its own, and the state folder is ours.
        (Path(config["task"].state) / OUTCOME).write_text(json.dumps(outcome))


def failure_of(error: Exception) -> TrainingError:
    """One line for what ended the workers more often than allowed."""
    causes = getattr(error, "worker_failures", None) or {}
    cause = next(iter(causes.values()), error)
    line = next((line for line in reversed(str(cause).strip().splitlines()) if line.strip()), type(cause).__name__)
    return TrainingError(f"training: the workers failed ({line.strip()[:300]}); the same command resumes from the last state")


def facts_of(history: dict[str, Any], config: TrainingConfig, reflections: int, truncated: int) -> dict[str, Any]:
    """The facts of the artefact."""
    losses, steps = history["losses"], len(history["losses"])
    per_epoch = steps // config.epochs
    epochs = [losses[start : start + per_epoch] for start in range(0, steps, per_epoch)]
    return {
        "reflections": reflections,
        "steps": steps,
        "loss_by_step": [round(loss, 6) for loss in losses],
        "loss_by_epoch": [round(sum(epoch) / len(epoch), 6) for epoch in epochs],
        "final_loss": losses[-1],
        "tokens": history["tokens"],
        "answer_tokens": history["answer_tokens"],
        "pad_share": round(1 - history["tokens"] / max(1, history["padded_tokens"]), 4),
        "truncated": truncated,
        "tokens_per_second": round(history["tokens"] / max(history["seconds"], 1e-9), 1),
        "seconds_per_step": round(history["seconds"] / max(1, steps), 3),
        "workers": history["workers"],
        "resumed_from": history["resumed_from"],
    }


@contextmanager
def watching(path: Path, progress: Progress | None) -> Iterator[None]:
    """Hand what the workers note in `path` to `progress`, about once a second."""
    if progress is None:
        yield
        return
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(1.0):
            try:
                told = json.loads(path.read_text())
            except (FileNotFoundError, json.JSONDecodeError):
                continue
            progress(told["done"], told["total"], told["note"])

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
