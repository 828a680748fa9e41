"""The training loop of one worker: packed steps through DeepSpeed, saves that go on beside them.

In go tokenised reflections and a base model; torch.distributed must be set up. Knows nothing of Ray: the caller
says where to resume and whether the machine is about to go.
"""

from __future__ import annotations

import json
import math
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any

import torch
import torch.distributed as dist

from memo_ray.artifacts.place import Place
from memo_ray.errors import TrainingError
from memo_ray.training.attention import CPU_MICRO_BATCH_TOKENS
from memo_ray.training.batches import make_batch
from memo_ray.training.blame import Room, not_finite, out_of_memory, told
from memo_ray.training.checkpoints import Epoch, History, remove_states
from memo_ray.training.deepspeed import start_engine
from memo_ray.training.examples import Examples
from memo_ray.training.job import TOLD, Job
from memo_ray.training.loading import load_model
from memo_ray.training.metering import Meter
from memo_ray.training.packing import Layout, share_out, steps_of_epoch
from memo_ray.training.saving import Saves, Wish
from memo_ray.training.schedule import learning_rate
from memo_ray.training.study import Wrong, study_steps
from memo_ray.training.tracking import Tracked, Tracker, Untracked, open_tracker
from memo_ray.training.zero import restore

STEPS_BETWEEN_CHECKS = 20
"""Losses are exchanged and looked at so often: a GPU then never waits for them."""

SKIPS_IN_A_ROW = 4
"""DeepSpeed leaves out a step whose gradients are not finite; after so many of them nothing is being learnt."""


def train(job: Job, resume: Place | None, on_epoch: Callable[[Epoch], None] = lambda _: None) -> History:
    """Train from the state `resume`, or from the base model, to the last epoch and the study behind it, if any.

    Every worker calls this.
    Ends earlier, with state saved, when a worker's machine is about to go. `on_epoch` is called on every worker with
    each finished epoch. Raises TrainingError when the loss is no number, or when what was learnt cannot be saved.
    """
    started = time.monotonic()
    if job.threads:
        torch.set_num_threads(job.threads)
    with out_of_memory(job.config, dist.get_world_size(), room_of(job, device_here()), held=0):
        worker = Worker(job, resume)
    worker.history.start_seconds += time.monotonic() - started
    # What is copied to save it takes the machine's memory, not a GPU's.
    with out_of_memory(job.config, worker.world, held=0), closing(worker.tracker), closing(worker.saves.writer):
        return train_epochs(worker, on_epoch)


def train_epochs(worker: Worker, on_epoch: Callable[[Epoch], None]) -> History:
    """Train `worker` to the last epoch as `train` says; what is saved on the way is there when this returns."""
    history, config, writer = worker.history, worker.config, worker.saves.writer
    while not history.ended(config):
        if history.unseen(config):
            worker.look()
            continue
        wish = worker.train_epoch()
        if history.begun is None:
            on_epoch(history.epochs[-1])
        if wish is Wish.LEAVE and not history.ended(config):
            writer.finish()
            return history
    blocked = writer.blocked_seconds
    writer.finish()
    history.epochs[-1].saving_seconds += writer.blocked_seconds - blocked
    if worker.rank == 0:
        history.save(worker.job.progress)
    return history


def device_here() -> torch.device:
    """The GPU that Ray Train gave this worker, or the CPU."""
    gpu = torch.cuda.is_available() and dist.get_backend() != "gloo"
    return torch.device("cuda", torch.cuda.current_device()) if gpu else torch.device("cpu")


def room_of(job: Job, device: torch.device) -> Room | None:
    """What a message needs to say which settings would fit; None on a CPU."""
    if device.type == "cpu":
        return None
    return Room(job.base, torch.cuda.get_device_properties(device).total_memory)


class Worker:
    """One worker's engine, and its share of every step."""

    def __init__(self, job: Job, resume: Place | None) -> None:
        self.job, self.config = job, job.config
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        self.device = device_here()
        self.room, gpu = room_of(job, self.device), self.device.type == "cuda"
        # Folders of this group of workers: one that was killed a moment ago may still be writing its own.
        self.nonce = self.shared(uuid.uuid4().hex[:8])
        self.examples = Examples.load(job.folder("examples"))
        self.lengths = self.examples.lengths.tolist()
        self.answer_tokens = self.examples.answer_tokens.tolist()
        self.history = (resume and History.load(resume)) or History(self.world)
        self.loaded = load_model(job.base, self.config, self.device, max(self.lengths))
        self.attention = self.loaded.attention
        self.history.packed, self.history.workers = self.loaded.packed, self.world
        at_once = self.config.micro_batch_tokens if gpu else min(self.config.micro_batch_tokens, CPU_MICRO_BATCH_TOKENS)
        row_tokens = self.attention.row_tokens or self.config.max_sequence_length
        self.layout = Layout(min(row_tokens, self.config.max_sequence_length), at_once, self.loaded.packed)
        self.engine = start_engine(self.loaded.loss, self.config, gpu=gpu)
        if resume is not None:
            self.history.resumed_from.append(self.history.steps)
            restore(self.engine, resume, self.config.recipe())
            if self.history.begun is not None:  # a share of what all workers counted
                epoch = self.history.begun
                epoch.tokens = (epoch.tokens + self.rank) // self.world
                epoch.padded_tokens = (epoch.padded_tokens + self.rank) // self.world
        if self.rank == 0:
            remove_states(job.states, but=resume)
        self.saves = Saves(job, self.engine, self.loaded.model, self.history, self.device, self.nonce)
        # Without the study's, whose number is not known before: what comes before it is the same with and without.
        self.planned = math.ceil(len(self.examples) / self.config.reflections_per_step) * self.config.epochs
        self.wrong = Wrong(job.progress, self.loaded, self.examples, self.layout, job.pad, self.shared)
        self.skips_in_a_row = 0
        self.meter = Meter(self.loaded.model, self.device, self.world, self.lengths, self.answer_tokens)
        self.tracker = self.open_tracker()

    def open_tracker(self) -> Tracker:
        """The first worker's tracker, and none for the others. Raises TrainingError, on all of them, when it fails."""
        tracker: Tracker = Untracked()
        problem = None
        if self.rank == 0:
            settings = self.config.model_dump(mode="json", exclude={"base"})
            run = Tracked(self.job.tracking, self.job.name, settings, self.history.steps, self.job.progress)
            try:
                tracker = open_tracker(self.config.tracking, run)
            except TrainingError as error:
                problem = str(error)
        problem = self.shared(problem)
        if problem is not None:
            raise TrainingError(problem)
        return tracker

    def train_epoch(self) -> Wish:
        """Take the steps of the next epoch, or what is left of it, up to a step after which this group must leave.

        What is saved on the way and at the end is on its way when this returns.
        """
        history, number = self.history, len(self.history.epochs)
        epoch = history.begun = history.begun or Epoch(study=number >= self.config.epochs)
        steps, done = self.steps(number), len(epoch.losses)
        first = history.steps - done
        skipped, clock = self.engine.skipped_steps, time.monotonic() - epoch.seconds
        self.meter.begin_epoch(steps[:done])
        sums: list[torch.Tensor] = []
        wish, blocked = Wish.NONE, self.saves.writer.blocked_seconds
        for place in range(done, len(steps)):
            answers = sum(self.answer_tokens[index] for index in steps[place])
            sums.append(self.take_step(steps[place], first + place, answers, epoch) / answers)
            last, wish = place == len(steps) - 1, self.saves.wish()
            if len(sums) == STEPS_BETWEEN_CHECKS or last or wish:
                losses = self.agreed_losses(sums, first + len(epoch.losses), steps[len(epoch.losses) :])
                epoch.losses += losses
                waited = self.saves.writer.blocked_seconds - blocked
                epoch.seconds, sums = time.monotonic() - clock - waited, []
                self.meter.tell(self.tracker, epoch, losses)
                self.tell(first + len(epoch.losses), max(self.planned, first + len(steps)), epoch)
            if wish and not last:
                self.saves.start(epoch=False, state=True)
                if wish is Wish.LEAVE:
                    return wish
        epoch.skipped_steps += self.engine.skipped_steps - skipped
        self.end_epoch(epoch, steps, wish)
        epoch.saving_seconds += self.saves.writer.blocked_seconds - blocked
        return wish

    def end_epoch(self, epoch: Epoch, steps: list[list[int]], wish: Wish) -> None:
        """Enter `epoch`, of these `steps`, into the history, and begin to save its model and what was wished."""
        history = self.history
        epoch.loss = self.mean_loss(steps, epoch.losses)
        epoch.tokens, epoch.padded_tokens = self.saves.writer.summed(epoch.tokens, epoch.padded_tokens)
        history.epochs.append(epoch)
        history.begun = None
        # After the last epoch nothing resumes.
        self.saves.start(epoch=True, state=bool(wish) and not history.ended(self.config))
        self.tracker.epoch(len(history.epochs), history.steps, {"loss": epoch.loss})

    def look(self) -> None:
        """Note what the memory gets wrong after the epoch that was trained last."""
        clock, epoch = time.monotonic(), self.history.epochs[-1]
        with out_of_memory(self.config, self.world, self.room):
            epoch.wrong = len(self.wrong.after(len(self.history.epochs)))
        epoch.looking_seconds = time.monotonic() - clock
        self.tracker.epoch(len(self.history.epochs), self.history.steps, {"wrong": epoch.wrong})

    def steps(self, number: int) -> list[list[int]]:
        """The examples of every step of epoch `number` (from 0). All workers call this."""
        config = self.config
        if config.study is None or number < config.epochs:
            return steps_of_epoch(len(self.examples), config.reflections_per_step, config.seed, number)
        wrong = self.wrong.after(number)
        return study_steps(
            wrong, len(self.examples), config.study.times, config.reflections_per_step, config.seed, number
        )

    def rate(self, number: int) -> float:
        """The learning rate of step `number` (from 0)."""
        config = self.config
        return learning_rate(number, self.planned, config.learning_rate, config.warmup_ratio)

    def take_step(self, step: list[int], number: int, answers: int, epoch: Epoch) -> torch.Tensor:
        """One optimiser step on the examples `step`; returns this worker's sum of losses."""
        # By step and not by epoch: a run that is resumed in between then draws the same dropout.
        torch.manual_seed(self.config.seed * 1_000_003 + number * self.world + self.rank)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = self.rate(number)
        total = torch.zeros((), device=self.device)
        skipped = self.engine.skipped_steps
        mine = share_out(step, self.lengths, self.layout, self.world)[self.rank]
        held = max(sum(self.lengths[index] for row in rows for index in row) for rows in mine)
        with out_of_memory(self.config, self.world, self.room, held):
            for rows in mine:
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
            self.saves.writer.wait_for_copies()
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
                f"training: the gradients of the {SKIPS_IN_A_ROW} steps up to step {number + 1} were not finite, "
                f"those of the last {self.blame(step)}"
            )

    def agreed_losses(self, sums: list[torch.Tensor], first: int, taken: list[list[int]]) -> list[float]:
        """The loss of each step `taken`, from number `first` on, over all workers.

        Raises TrainingError, on all of them, when one is not a number.
        """
        losses = torch.stack(sums).double()
        dist.all_reduce(losses)
        for place, loss in enumerate(losses.tolist()):
            if not math.isfinite(loss):
                raise TrainingError(
                    f"training: the loss is {loss} at step {first + place + 1}, {self.blame(taken[place])}"
                )
        return losses.tolist()

    def blame(self, step: list[int]) -> str:
        """Which examples of a step have a loss that is not finite, looked for by all workers together, and a remedy."""
        mine = not_finite(self.loaded.loss, step[self.rank :: self.world], self.examples, self.job.pad, self.attention)
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, mine)
        learnt = bool(self.history.resumed_from) or self.engine.global_steps > self.engine.skipped_steps
        return told([index for some in found for index in some], step, self.examples, learnt=learnt)

    def mean_loss(self, steps: list[list[int]], losses: list[float]) -> float:
        """The mean over all answer tokens of an epoch."""
        weights = [sum(self.answer_tokens[index] for index in step) for step in steps]
        return sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)

    def tell(self, done: int, total: int, epoch: Epoch) -> None:
        """Leave how far training is, in steps, where the driver looks for it."""
        if self.rank == 0:
            rate = epoch.tokens * self.world / max(epoch.seconds, 1e-9)
            told = {
                "done": done,
                "total": total,
                "note": f"loss {epoch.losses[-1]:.2f}, {rate:.0f} tokens/s" + (", study" if epoch.study else ""),
                "resumed_from": self.history.resumed_from,
            }
            self.job.progress.put(TOLD, json.dumps(told).encode())

    def shared(self, value: Any) -> Any:
        """Rank 0's `value` on every worker."""
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]
