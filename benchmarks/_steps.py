"""Single optimiser steps to be timed: the trainer's own, and its forward and backward pass under AdamW in bf16."""

from __future__ import annotations

import gc
import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _random_model import random_model

from memo_ray.artifacts.place import Place
from memo_ray.config.training import TrainingConfig
from memo_ray.training.attention import choose_attention
from memo_ray.training.batches import make_batch
from memo_ray.training.checkpoints import Epoch
from memo_ray.training.deepspeed import parameter_groups
from memo_ray.training.examples import Examples
from memo_ray.training.flops import work_of
from memo_ray.training.job import Job
from memo_ray.training.loading import make_ready
from memo_ray.training.loop import Worker
from memo_ray.training.packing import Layout, share_out, steps_of_epoch


def make_examples(count: int, stretch: float, vocabulary: int) -> Examples:
    """Random tokens of a real run's lengths (`data/pair_lengths.json`), drawn with a seed, `stretch` times as long."""
    known = json.loads((Path(__file__).parent / "data" / "pair_lengths.json").read_text())["lengths"]
    draw = random.Random(0)
    lengths = [draw.choice(known) for _ in range(count)]
    prompts = [round(prompt * stretch) for prompt, _ in lengths]
    sizes = [max(1, round(answer * stretch)) + prompt for (_, answer), prompt in zip(lengths, prompts, strict=True)]
    tokens = np.random.default_rng(0).integers(10, vocabulary - 10, sum(sizes), dtype=np.int32)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Examples(tokens, starts, np.array(prompts, dtype=np.int32))


def stored(examples: Examples, place: Place) -> Place:
    """`place` with the examples where a trainer looks for them."""
    with place.storing("examples") as folder:
        examples.save(folder)
    return place


class TrainerSteps:
    """The trainer's own steps: DeepSpeed ZeRO-2 with float32 master weights and gradient sums."""

    def __init__(self, base: Path, config: TrainingConfig, place: Place) -> None:
        self.worker = Worker(Job(config, base, place, pad=0), None)
        self.device, self.work = self.worker.device, self.worker.meter.work
        self.examples, self.steps = self.worker.examples, self.worker.steps(0)

    def take(self, step: list[int]) -> None:
        """One optimiser step on the examples `step`."""
        self.worker.take_step(step, 0, sum(self.worker.answer_tokens[index] for index in step), Epoch())

    def close(self) -> None:
        """Give the memory back."""
        self.worker.saves.writer.close()
        self.worker.engine.destroy()
        self.__dict__.clear()
        forget()


class Bf16Steps:
    """The trainer's packing, forward and backward pass and loss; weights, gradients and AdamW's moments in bf16.

    8 bytes a parameter instead of 18, so that 14 billion parameters fit a GPU of 141 GB: for measuring, not for
    training, whose small learning rates bf16 weights round away.
    """

    def __init__(self, shape: Any, config: TrainingConfig, examples: Examples, device: torch.device) -> None:
        self.examples, self.config, self.device = examples, config, device
        self.lengths = examples.lengths.tolist()
        attention = choose_attention(shape, device, "bf16", max(self.lengths), config.attention)
        model = random_model(shape, device, attention.name)
        loaded = make_ready(model, config, attention)
        self.loss, self.attention = loaded.loss, loaded.attention
        self.work = work_of(model)
        row = min(self.attention.row_tokens or config.max_sequence_length, config.max_sequence_length)
        self.layout = Layout(row, config.micro_batch_tokens, loaded.packed)
        self.optimizer = torch.optim.AdamW(parameter_groups(model, config.weight_decay), lr=1e-5, fused=True)
        self.steps = steps_of_epoch(len(examples), config.reflections_per_step, config.seed, 0)

    def take(self, step: list[int]) -> None:
        """One optimiser step on the examples `step`."""
        answers = int(self.examples.answer_tokens[step].sum())
        for rows in share_out(step, self.lengths, self.layout, 1)[0]:
            batch = make_batch(
                rows, self.examples, 0, flat=self.attention.flat, device=self.device, segments=self.attention.segments
            )
            (self.loss(batch) / answers).backward()
        torch.nn.utils.clip_grad_norm_(self.loss.parameters(), self.config.max_grad_norm, foreach=True)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def close(self) -> None:
        """Give the memory back."""
        self.__dict__.clear()
        forget()


def flops_of(steps: TrainerSteps | Bf16Steps, step: list[int]) -> float:
    """Operations that the examples `step` take, without recomputation and padding."""
    return steps.work.flops(steps.examples.lengths[step].tolist(), int(steps.examples.answer_tokens[step].sum()))


def tokens_of(steps: TrainerSteps | Bf16Steps, step: list[int]) -> int:
    """Tokens of the examples `step`."""
    return int(steps.examples.lengths[step].sum())


def seconds_of(take: Callable[[], Any], device: torch.device) -> float:
    """How long `take` takes, by CUDA events on a GPU."""
    if device.type != "cuda":
        clock = time.perf_counter()
        take()
        return time.perf_counter() - clock
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    take()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1000


def matrix_rate(device: torch.device, size: int, turns: int = 10) -> float:
    """Operations a second of a bf16 product of random matrices of `size` by `size`."""
    first, second = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(3):
        torch.mm(first, second)

    def products() -> None:
        for _ in range(turns):
            torch.mm(first, second)

    return 2 * size**3 * turns / seconds_of(products, device)


def forget() -> None:
    """Free what no longer has an owner, compiled code too."""
    torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def single_process(gpu: bool) -> None:
    """The environment of a worker that is alone."""
    os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
    if not gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
