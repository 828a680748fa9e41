"""What to say when training cannot go on: which examples are to blame, and which settings would fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from memo_ray.config.training import TrainingConfig
from memo_ray.errors import TrainingError
from memo_ray.training.attention import Attention
from memo_ray.training.batches import make_batch
from memo_ray.training.examples import Examples

NAMED = 5
"""So many examples are named in a message."""


def not_finite(loss: Any, step: Iterable[int], examples: Examples, pad: int, attention: Attention) -> list[int]:
    """Those of the examples `step` whose loss, each computed alone without a gradient, is no finite number."""
    device = next(loss.parameters()).device
    training = loss.training
    loss.eval()
    found = []
    with torch.no_grad():
        for index in step:
            batch = make_batch(
                [[index]], examples, pad, flat=attention.flat, device=device, segments=attention.segments
            )
            if not math.isfinite(loss(batch).item()):
                found.append(index)
    loss.train(training)
    return found


def told(blamed: Sequence[int], step: Sequence[int], examples: Examples) -> str:
    """One clause that says which examples of a step are to blame."""
    if not blamed:
        return "each of its reflections is finite by itself"
    if len(blamed) == len(step):
        return "for every one of its reflections, so the weights themselves are no good"
    names = ", ".join(examples.name(index) for index in sorted(blamed)[:NAMED])
    more = f" and {len(blamed) - NAMED} more" if len(blamed) > NAMED else ""
    return f"for reflection {names}{more} of its {len(step)}"


class OutOfMemory(RuntimeError):
    """One of several workers is out of memory; the line that tells a user."""


@contextmanager
def out_of_memory(config: TrainingConfig, workers: int) -> Iterator[None]:
    """Turn the allocator's error into one line with the settings that take less memory.

    Of several workers only one may be out of memory while the others wait for it. It must fail, not return, so that
    Ray Train ends them all: then the line is raised as OutOfMemory, which is no MemoError.
    """
    try:
        yield
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU's allocator raises it plainly
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        line = f"training: out of memory; set {' or '.join(smaller(config))}"
        raise (TrainingError(line) if workers == 1 else OutOfMemory(line)) from error


def smaller(config: TrainingConfig) -> list[str]:
    """Settings that would take less memory than `config`, those first that cost the least."""
    ways = []
    if config.micro_batch_tokens > 1024:
        ways.append(f"micro_batch_tokens: {config.micro_batch_tokens // 2}")
    if not config.gradient_checkpointing:
        ways.append("gradient_checkpointing: true")
    elif config.checkpoint_keep != "nothing":
        ways.append("checkpoint_keep: nothing")
    if config.precision == "fp32":
        ways.append("precision: bf16")
    ways.append(f"workers: {config.workers * 2}")
    if config.lora is None:
        ways.append("lora: {}")
    return ways
