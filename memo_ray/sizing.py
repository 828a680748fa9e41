"""Which Qwen2.5 instruct models fit on a machine's GPUs: to generate, to be fine-tuned, to be served.

A machine in (its GPUs' memory in bytes), model names and parallelism out. Arithmetic on published parameter counts; the
margins are rules of thumb, so a plan made from them is a place to start and not a promise.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from memo_ray import machine as this_machine

GB = 10**9


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU of this machine; memory in bytes."""

    name: str
    memory: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What a plan depends on. `engine`: the installed vLLM and version, as `memo_ray.machine.engine` names it."""

    cores: int
    memory: int
    gpus: tuple[Gpu, ...] = ()
    engine: str = ""

    @classmethod
    def here(cls) -> Machine:
        """This machine, asked through Linux's files and nvidia-smi."""
        gpus = (parse_gpu(line) for line in this_machine.gpus())
        return cls(
            cores=len(os.sched_getaffinity(0)),
            memory=this_machine.memory_available(),
            gpus=tuple(gpu for gpu in gpus if gpu is not None),
            engine=this_machine.engine(),
        )


@dataclass(frozen=True, slots=True)
class Size:
    """A model of the Qwen2.5 family with a licence for any use (Apache-2.0); the 3B and 72B ones have another."""

    name: str
    parameters: float
    """In billions."""
    kv_cache: float
    """GB that an engine should have left beside the weights to work on a dozen chunks at once."""

    @property
    def weights(self) -> float:
        """GB in bfloat16."""
        return 2 * self.parameters


SIZES = (
    Size("Qwen/Qwen2.5-32B-Instruct", 32.8, 6),
    Size("Qwen/Qwen2.5-14B-Instruct", 14.8, 6),
    Size("Qwen/Qwen2.5-7B-Instruct", 7.62, 4),
    Size("Qwen/Qwen2.5-1.5B-Instruct", 1.54, 2),
    Size("Qwen/Qwen2.5-0.5B-Instruct", 0.49, 1),
)
UTILISATION = 0.9
"""Share of a GPU's memory that an engine takes (`gpu_memory_utilization`)."""
PARALLEL = (1, 2, 4)
"""Tensor-parallel sizes; each divides the attention heads (28 and 40) of the models that can need more than one GPU."""
LARGEST_MEMORY = 15.0
"""Billions of parameters; the paper's largest memory is the 14B model."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A model to run, over how many GPUs each copy."""

    model: str
    tensor_parallel_size: int


@dataclass(frozen=True, slots=True)
class Trainable:
    """A model to fine-tune in full on all GPUs, and the longest packed sequence that leaves room for it."""

    model: str
    max_sequence_length: int


def choose_models(machine: Machine) -> tuple[Engine | None, Trainable | None, Engine | None]:
    """Generator, memory's base and executive; all None where no GPU has room for them.

    Memory and executive are served at the same time, on GPUs of their own, and a memory takes one.
    """
    if not machine.gpus:
        return None, None, None
    smallest = min(gpu.memory for gpu in machine.gpus)
    generator = engine_for(smallest, len(machine.gpus))
    memory = trainable_on(smallest, len(machine.gpus))
    if generator is None or memory is None:
        return None, None, None
    return generator, memory, engine_for(smallest, len(machine.gpus) - 1)


def engine_for(gpu_bytes: float, gpus: int, at_most: float = 100.0) -> Engine | None:
    """The largest model of up to `at_most` billion parameters that `gpus` GPUs can run; None when none fits."""
    for size in SIZES:
        if size.parameters > at_most:
            continue
        for parallel in PARALLEL:
            if parallel <= gpus and size.weights + size.kv_cache <= UTILISATION * parallel * gpu_bytes / GB:
                return Engine(size.name, parallel)
    return None


def trainable_on(gpu_bytes: float, gpus: int) -> Trainable | None:
    """The largest memory model that full fine-tuning with ZeRO-2 over all `gpus` has room for; None when none has.

    Bytes a parameter: 2 for the weights everywhere, and 16 shared by the GPUs (fp32 gradients, weights and Adam's
    two moments). What is left must hold the activations and logits of one packed sequence.
    """
    for length, activations in ((8096, 14), (2048, 4)):
        for size in SIZES:
            state = size.parameters * (2 + 16 / gpus)
            one_gpu_runs_it = size.weights + size.kv_cache <= UTILISATION * gpu_bytes / GB
            fits = state + activations <= 0.95 * gpu_bytes / GB
            if size.parameters <= LARGEST_MEMORY and one_gpu_runs_it and fits:
                return Trainable(size.name, length)
    return None


def parse_gpu(line: str) -> Gpu | None:
    """A GPU from a line of nvidia-smi such as `NVIDIA H200, 143771 MiB`; None for a line without its memory."""
    found = re.fullmatch(r"(.+), (\d+) MiB", line.strip())
    return Gpu(found[1], int(found[2]) * 2**20) if found else None
