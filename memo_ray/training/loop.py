"""The training loop of one worker: packed steps through DeepSpeed, a model folder and resumable state by epoch.

In go tokenised reflections and a base model; torch.distributed must be set up. Knows nothing of Ray: the caller
says where to resume and is told of every saved state.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from memo_ray.artifacts.place import Place, local_folder
from memo_ray.config.training import TrainingConfig
from memo_ray.errors import TrainingError
from memo_ray.training.attention import CPU_MICRO_BATCH_TOKENS
from memo_ray.training.batches import make_batch
from memo_ray.training.blame import not_finite, out_of_memory, told
from memo_ray.training.checkpoints import Epoch, History, load_state, remove_states, save_model, save_state
from memo_ray.training.deepspeed import start_engine
from memo_ray.training.examples import Examples
from memo_ray.training.loading import load_model
from memo_ray.training.lora import FOLDER, folded_state, save_adapter
from memo_ray.training.metering import Meter
from memo_ray.training.packing import Layout, share_out, steps_of_epoch
from memo_ray.training.schedule import learning_rate
from memo_ray.training.tracking import Tracker, Untracked, open_tracker

STEPS_BETWEEN_CHECKS = 20
"""Losses are exchanged and looked at so often: a GPU then never waits for them."""

SKIPS_IN_A_ROW = 4
"""DeepSpeed leaves out a step whose gradients are not finite; after so many of them nothing is being learnt."""


@dataclass(frozen=True)
class Job:
    """What all workers share. `progress`: the place that survives the run, which all of them reach.

    It holds `examples` (the tokenised reflections), the model folders, and below `states` what a run resumes from.
    `pad`: the id of a padding token.
    """

    config: TrainingConfig
    base: Path
    progress: Place
    pad: int
    threads: int | None = None

    @property
    def states(self) -> Place:
        """Where the resumable states lie."""
        return self.progress.child("states")

    def folder(self, name: str) -> Path:
        """The stored folder `name` of the progress on this machine."""
        found = self.progress.location(name)
        if found is None:
            raise TrainingError(f"training: {self.progress.url}: holds no {name}; all nodes must reach it (`root:`)")
        return local_folder(found)

    @property
    def tracking(self) -> Path:
        """The folder of what a tracker keeps as files: curves outlive an attempt, and nothing is resumed from them."""
        return self.progress.nearby("tracking")


def model_name(epoch: int) -> str:
    """The name of the model folder after `epoch` (from 1) in the progress."""
    return f"models/epoch-{epoch}"


def train(job: Job, resume: Place | None, on_state: Callable[[Place, History], None]) -> History:
    """Train from the state `resume`, or from the base model, to the last epoch. Every worker calls this.

    `on_state` is called on every worker with each complete state. Raises TrainingError when the loss is no number.
    """
    started = time.monotonic()
    if job.threads:
        torch.set_num_threads(job.threads)
    with out_of_memory(job.config, dist.get_world_size()):
        worker = Worker(job, resume)
    worker.history.start_seconds += time.monotonic() - started
    with closing(worker.tracker):
        return train_epochs(worker, on_state)


def train_epochs(worker: Worker, on_state: Callable[[Place, History], None]) -> History:
    """Train `worker` to the last epoch, saving on the way as `train` says."""
    job, history, saved = worker.job, worker.history, time.monotonic()
    while len(history.epochs) < job.config.epochs:
        epoch = worker.train_epoch(len(history.epochs))
        history.epochs.append(epoch)
        clock = time.monotonic()
        last = len(history.epochs) == job.config.epochs
        if worker.rank == 0:
            save_epoch(worker.loaded.model, job, len(history.epochs))
        # State is several times the model, and after the last epoch nothing resumes from it.
        if not last and worker.everyone(time.monotonic() - saved >= job.config.state_every_s):
            state = job.states.child(f"epoch-{len(history.epochs):04d}-{worker.nonce}")
            save_state(worker.engine, state, history)
            on_state(state, history)
            if worker.rank == 0:
                remove_states(job.states, but=state)
            saved = time.monotonic()
        dist.barrier()
        epoch.saving_seconds = time.monotonic() - clock
        if worker.rank == 0:
            history.save(job.progress)
    return history


def save_epoch(model: Any, job: Job, epoch: int) -> None:
    """Write the model folder of `epoch` (from 1): all weights, or adapters alone and, unless unwanted, folded in."""
    lora = job.config.lora
    with job.progress.storing(model_name(epoch)) as folder:
        if lora is None:
            save_model(model, job.base, folder)
        elif lora.folded:
            save_model(model, job.base, folder, folded_state(model))
        if lora is not None:
            save_adapter(model, folder / FOLDER)


class Worker:
    """One worker's engine, and its share of every step."""

    def __init__(self, job: Job, resume: Place | None) -> None:
        self.job, self.config = job, job.config
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        gpu = torch.cuda.is_available() and dist.get_backend() != "gloo"
        self.device = torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")
        # Folders of this group of workers: one that was killed a moment ago may still be writing its own.
        self.nonce = self.shared(uuid.uuid4().hex[:8])
        self.examples = Examples.load(job.folder("examples"))
        self.lengths = self.examples.lengths.tolist()
        self.answer_tokens = self.examples.answer_tokens.tolist()

        self.history = (resume and History.load(resume)) or History(self.world)
        fits = resume is not None and self.history.workers == self.world
        begun = len(self.history.epochs)
        trained = None if not begun or fits else job.folder(model_name(begun))
        self.loaded = load_model(job.base, trained, self.config, self.device, max(self.lengths))
        self.attention = self.loaded.attention
        self.history.packed, self.history.workers = self.loaded.packed, self.world
        at_once = self.config.micro_batch_tokens if gpu else min(self.config.micro_batch_tokens, CPU_MICRO_BATCH_TOKENS)
        row_tokens = self.attention.row_tokens or self.config.max_sequence_length
        self.layout = Layout(min(row_tokens, self.config.max_sequence_length), at_once, self.loaded.packed)
        self.engine = start_engine(self.loaded.loss, self.config, gpu=gpu)
        if resume is not None:
            self.history.resumed_from.append(len(self.history.epochs))
            if fits:
                load_state(self.engine, resume)
            else:
                self.history.fresh_optimizer.append(len(self.history.epochs))
        if self.rank == 0:
            remove_states(job.states, but=resume)
        self.steps_per_epoch = math.ceil(len(self.examples) / self.config.reflections_per_step)
        self.skips_in_a_row = 0
        self.meter = Meter(self.loaded.model, self.device, self.world, self.lengths, self.answer_tokens)
        taken = len(self.history.epochs) * self.steps_per_epoch
        self.tracker: Tracker = Untracked()
        if self.rank == 0:
            settings = self.config.model_dump(mode="json", exclude={"base"})
            self.tracker = open_tracker(self.config.tracking, job.tracking, "memory", settings, taken)

    def train_epoch(self, number: int) -> Epoch:
        """Take every step of epoch `number` (from 0)."""
        config = self.config
        torch.manual_seed(config.seed * 1_000_003 + number * self.world + self.rank)
        epoch, skipped, clock = Epoch(), self.engine.skipped_steps, time.monotonic()
        self.meter.begin_epoch()
        sums: list[torch.Tensor] = []
        for place, step in enumerate(self.steps(number)):
            answers = sum(self.answer_tokens[index] for index in step)
            sums.append(self.take_step(step, number * self.steps_per_epoch + place, answers, epoch) / answers)
            if len(sums) == STEPS_BETWEEN_CHECKS or place == self.steps_per_epoch - 1:
                losses = self.agreed_losses(sums, number * self.steps_per_epoch + len(epoch.losses))
                epoch.losses += losses
                epoch.seconds, sums = time.monotonic() - clock, []
                self.meter.tell(self.tracker, epoch, losses)
                self.tell(number, epoch)
        epoch.loss = self.mean_loss(number, epoch.losses)
        epoch.skipped_steps = self.engine.skipped_steps - skipped
        totals = torch.tensor([epoch.tokens, epoch.padded_tokens], device=self.device)
        dist.all_reduce(totals)
        epoch.tokens, epoch.padded_tokens = totals.tolist()
        self.tracker.epoch(number + 1, (number + 1) * self.steps_per_epoch, {"loss": epoch.loss})
        return epoch

    def steps(self, number: int) -> list[list[int]]:
        """The examples of every step of epoch `number`."""
        return steps_of_epoch(len(self.examples), self.config.reflections_per_step, self.config.seed, number)

    def rate(self, number: int) -> float:
        """The learning rate of step `number` (from 0)."""
        config = self.config
        return learning_rate(number, self.steps_per_epoch * config.epochs, config.learning_rate, config.warmup_ratio)

    def take_step(self, step: list[int], number: int, answers: int, epoch: Epoch) -> torch.Tensor:
        """One optimiser step on the examples `step`; returns this worker's sum of losses."""
        for group in self.engine.optimizer.param_groups:
            group["lr"] = self.rate(number)
        total = torch.zeros((), device=self.device)
        skipped = self.engine.skipped_steps
        with out_of_memory(self.config, self.world):
            for rows in share_out(step, self.lengths, self.layout, self.world)[self.rank]:
                batch = make_batch(
                    rows, self.examples, self.job.pad, flat=self.attention.flat, device=self.device,
                    segments=self.attention.segments,
                )  # fmt: skip
                loss = self.engine(batch)
                # DeepSpeed averages over the workers; the sum over all of them by the step's answer tokens is meant.
                self.engine.backward(loss * (self.world / answers), scale_wrt_gas=False)
                total += loss.detach()
                epoch.tokens += batch.tokens
                epoch.padded_tokens += batch.padded
            self.engine.step()
        self.meter.took(number, step, self.rate(number), self.engine.get_global_grad_norm())
        self.refuse_standstill(self.engine.skipped_steps > skipped, number, step)
        epoch.answer_tokens += answers
        return total

    def refuse_standstill(self, skipped: bool, number: int, step: list[int]) -> None:
        """Raise TrainingError, on all workers alike, when the last few steps have all been left out."""
        self.skips_in_a_row = self.skips_in_a_row + 1 if skipped else 0
        if self.skips_in_a_row >= SKIPS_IN_A_ROW:
            raise TrainingError(
                f"training: the gradients of the {SKIPS_IN_A_ROW} steps up to step {number + 1} were not finite "
                f"(the loss of the last: {self.blame(step)}); lower learning_rate, raise warmup_ratio, or use "
                "precision: fp32"
            )

    def agreed_losses(self, sums: list[torch.Tensor], first: int) -> list[float]:
        """Each step's loss over all workers. Raises TrainingError, on all of them, when one is not a number."""
        losses = torch.stack(sums).double()
        dist.all_reduce(losses)
        for number, loss in enumerate(losses.tolist(), first):
            if not math.isfinite(loss):
                epoch, place = divmod(number, self.steps_per_epoch)
                raise TrainingError(
                    f"training: the loss is {loss} at step {number + 1}, {self.blame(self.steps(epoch)[place])}; "
                    "look at them, lower learning_rate, raise warmup_ratio, or use precision: fp32"
                )
        return losses.tolist()

    def blame(self, step: list[int]) -> str:
        """Which examples of a step have a loss that is not finite, looked for by all workers together."""
        mine = not_finite(self.loaded.loss, step[self.rank :: self.world], self.examples, self.job.pad, self.attention)
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, mine)
        return told([index for some in found for index in some], step, self.examples)

    def mean_loss(self, number: int, losses: list[float]) -> float:
        """The mean over all answer tokens of an epoch."""
        weights = [sum(self.answer_tokens[index] for index in step) for step in self.steps(number)]
        return sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)

    def tell(self, number: int, epoch: Epoch) -> None:
        """Leave how far training is where the driver looks for it."""
        if self.rank == 0:
            done = number * self.steps_per_epoch + len(epoch.losses)
            rate = epoch.tokens * self.world / max(epoch.seconds, 1e-9)
            told = {
                "done": done,
                "total": self.steps_per_epoch * self.config.epochs,
                "note": f"loss {epoch.losses[-1]:.2f}, {rate:.0f} tokens/s",
            }
            self.job.progress.put("told.json", json.dumps(told).encode())

    def everyone(self, wish: bool) -> bool:
        """Rank 0's `wish`, known to all: every worker must save, or none."""
        return bool(self.shared(wish))

    def shared(self, value: Any) -> Any:
        """Rank 0's `value` on every worker."""
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]
