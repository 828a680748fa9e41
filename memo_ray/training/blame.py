"""What to say when training cannot go on: which examples are to blame, and which settings would fit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from memo_ray.config.training import TrainingConfig
from memo_ray.errors import TrainingError
from memo_ray.training.attention import CPU_MICRO_BATCH_TOKENS, Attention
from memo_ray.training.batches import make_batch
from memo_ray.training.examples import Examples
from memo_ray.training.fit import fit

NAMED = 5
"""So many examples are named in a message."""
GENTLER = "lower learning_rate, raise warmup_ratio, or use precision: fp32"
"""What helps a training whose weights ran away."""
SAID = ("allocate memory", "MemoryError")
"""What plain errors of the allocators say; the second is in what a thread that saves told of its own."""
LOW_MEMORY = "running low on memory"
"""What Ray says of workers that its own monitor ended."""
KILLED = "worker process has died"
"""What it says of one that Linux killed, as it does when memory runs out, or that crashed."""
LEAST_TOKENS = 256
"""Of micro-batches on a CPU: smaller ones save next to nothing."""
SPARE = 0.9
"""Of what a GPU could not hold, though the estimate said so, what is offered takes at most this share."""


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


def told(blamed: Sequence[int], step: Sequence[int], examples: Examples, *, learnt: bool) -> str:
    """Which examples of a step are to blame, and what to do. `learnt`: whether the weights were ever changed."""
    if not blamed:
        return f"though each of its reflections is finite by itself; {GENTLER}"
    if len(blamed) < len(step):
        names = ", ".join(examples.name(index) for index in sorted(blamed)[:NAMED])
        more = f" and {len(blamed) - NAMED} more" if len(blamed) > NAMED else ""
        return f"for reflection {names}{more} of its {len(step)}; look at them, {GENTLER}"
    if learnt:
        return f"for every one of its reflections, so the weights themselves are no good by now; {GENTLER}"
    return (
        "for every one of its reflections before anything was learnt, so the base model itself is no good; "
        "take another training.base"
    )


class OutOfMemory(RuntimeError):
    """One of several workers is out of memory; the line that tells a user."""


@dataclass(frozen=True, slots=True)
class Room:
    """The folder of the base model, and the bytes of the GPU that it is to be trained on."""

    base: Path
    memory: int


@contextmanager
def out_of_memory(
    config: TrainingConfig, workers: int, room: Room | None = None, held: int | None = None
) -> Iterator[None]:
    """Turn the allocator's error into one line with settings that would fit; `held` as for `smaller`.

    Of several workers only one may be out of memory while the others wait for it. It must fail, not return, so that
    Ray Train ends them all: then the line is raised as OutOfMemory, which is no MemoError.
    """
    try:
        yield
    # torch.OutOfMemoryError is a RuntimeError; CPU allocations and mapped weights raise one plainly, NumPy another.
    except (RuntimeError, MemoryError) as error:
        known = isinstance(error, torch.OutOfMemoryError | MemoryError) or any(said in str(error) for said in SAID)
        if not known or isinstance(error, OutOfMemory):
            raise
        line = too_large(config, room, held)
        raise (TrainingError(line) if workers == 1 else OutOfMemory(line)) from error


def too_large(config: TrainingConfig, room: Room | None, held: int | None = None) -> str:
    """The line that tells a user: of a GPU, its size and what fits it by the estimate; of a CPU, what takes less."""
    ways = smaller(config, held) if room is None else fitting(config, room)
    where = "" if room is None else f" on a GPU of {room.memory / 2**30:.0f} GiB"
    return f"training: out of memory{where}; {less_memory(ways)}"


def less_memory(ways: Sequence[str]) -> str:
    """What to do: any of the settings `ways`."""
    return f"set {' or '.join(ways)}" if ways else "take a smaller base"


def fitting(config: TrainingConfig, room: Room) -> Sequence[str]:
    """Settings that fit a GPU by the estimate, those first that cost the least."""
    from transformers import AutoConfig

    shape = AutoConfig.from_pretrained(room.base)
    found = fit(shape, config, room.memory)
    if found.fits:  # then the estimate was too low, and what only just fits by it does not
        found = fit(shape, config, int(found.footprint.total * SPARE))
    return found.remedies


def smaller(config: TrainingConfig, held: int | None = None) -> list[str]:
    """Settings that take less memory on a CPU, those first that cost the least.

    `held`: tokens of the largest micro-batch that was to be computed, 0 for none yet, when activations are not to
    blame; None: as many as the settings allow.
    """
    ways = []
    tokens = min(config.micro_batch_tokens, CPU_MICRO_BATCH_TOKENS, config.micro_batch_tokens if held is None else held)
    if tokens > LEAST_TOKENS:
        ways.append(f"micro_batch_tokens: {max(LEAST_TOKENS, tokens // 2)}")
    if not config.gradient_checkpointing and tokens:
        ways.append("gradient_checkpointing: true")
    elif config.checkpoint_keep != "nothing" and tokens:
        ways.append("checkpoint_keep: nothing")
    if config.precision == "fp32":
        ways.append("precision: bf16")
    if config.workers > 1:  # each of them holds all weights, on one machine
        ways.append("workers: 1")
    if config.lora is None:
        ways.append("lora: {}")
    return ways


def failure_of(error: Exception, config: TrainingConfig, *, gpu: bool) -> TrainingError:
    """One line for what ended the workers more often than `max_failures` allows."""
    cause = next(iter(getattr(error, "worker_failures", {}).values()), error)
    if LOW_MEMORY in str(cause):
        return TrainingError("training: out of memory; take nodes of more memory" if gpu else too_large(config, None))
    if KILLED in str(cause):
        ways = "take nodes of more memory" if gpu else less_memory(smaller(config))
        return TrainingError(
            "training: a worker's process was killed or crashed more often than training.max_failures allows; if its "
            f"machine ran out of memory (`dmesg` names those that Linux killed), {ways}; the same command resumes from "
            "the last state"
        )
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
    return TrainingError(
        f"training: the workers failed more often than training.max_failures allows ({lines[-1][:300]}); "
        "the same command resumes from the last state"
    )
