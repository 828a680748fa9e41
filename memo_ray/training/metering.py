"""Turns what the loop did into a tracker's figures: speed, MFU, memory, padding, by step."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from typing import Any

import torch

from memo_ray.training.checkpoints import Epoch
from memo_ray.training.flops import peak_flops, work_of
from memo_ray.training.tracking import StepMetrics, Tracker


class Meter:
    """Collects the steps between two looks at the losses, and tells a tracker of them.

    `lengths`, `answer_tokens`: of every example. Figures that no one looks at before the losses are known stay on the
    device until then.
    """

    def __init__(
        self, model: Any, device: torch.device, workers: int, lengths: Sequence[int], answer_tokens: Sequence[int]
    ) -> None:
        self.work, self.device, self.workers = work_of(model), device, workers
        self.lengths, self.answer_tokens = lengths, answer_tokens
        self.peak = peak_flops(device)
        self.begin_epoch()

    def begin_epoch(self, taken: Sequence[Sequence[int]] = ()) -> None:
        """Count from nothing, or from the steps of the epoch that were `taken` before a resumed run goes on."""
        self.useful = sum(map(self._work, taken), 0.0)
        self.steps: list[tuple[int, float, Any]] = []

    def took(self, number: int, step: Sequence[int], rate: float, norm: Any) -> None:
        """Note step `number` (from 0) over the examples `step`, its learning rate and its gradient norm."""
        self.useful += self._work(step)
        self.steps.append((number, rate, norm))

    def _work(self, step: Sequence[int]) -> float:
        lengths = [self.lengths[index] for index in step]
        return self.work.flops(lengths, sum(self.answer_tokens[index] for index in step))

    def tell(self, tracker: Tracker, epoch: Epoch, losses: Sequence[float]) -> None:
        """Hand on the steps noted since the last time; `losses` are theirs, `epoch` is this worker's so far."""
        seconds = max(epoch.seconds, 1e-9)
        for (number, rate, norm), loss in zip(self.steps, losses, strict=True):
            metrics = StepMetrics(
                loss=loss,
                learning_rate=rate,
                gradient_norm=None if norm is None else float(norm),
                tokens_per_second=epoch.tokens * self.workers / seconds,
                mfu=self.useful / seconds / (self.peak * self.workers) if self.peak else None,
                memory_gb=peak_memory(self.device) / 1e9,
                pad_share=1 - epoch.tokens / max(1, epoch.padded_tokens),
            )
            tracker.step(number + 1, metrics)
        self.steps = []


def peak_memory(device: torch.device) -> int:
    """Bytes that this process has held at most: of the GPU, or of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
