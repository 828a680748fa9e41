"""How much memory one pass over the memories needs, told from headers and recipes before anything is read.

Most recipes work on stretches of a megabyte and read no more at a time. With one that needs whole tensors, a pass holds
one of the base and of every memory and reads the next one meanwhile; TIES sorts task vectors besides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from memo_ray.config.merging import MergeRecipe
from memo_ray.merging.headers import read_tensors
from memo_ray.merging.methods import METHODS

if TYPE_CHECKING:
    from memo_ray.merging.checks import Inputs

SORT_BYTES = 28
"""Memory for an entry of a tensor while a task vector of it is sorted: as measured on 24 million entries."""
SORTS_AT_ONCE = 2
"""Task vectors of the largest tensor that are sorted together; of smaller tensors as many as take the same memory."""
WHOLE_BYTES = 56
"""The same for SLERP, which takes its two task vectors whole."""
PROCESS_BYTES = 1_000_000_000
"""Memory of the process itself: its libraries, and the stretches of tensors that its threads work on."""


def pass_bytes(inputs: Inputs, recipes: Iterable[MergeRecipe], threads: int = 0) -> int:
    """What one pass of `recipes` needs in memory at most, on `threads` threads (0: any number)."""
    memories, chosen = len(inputs.memories), list(recipes)
    sparsities = [METHODS[recipe.method].sparsity(recipe) for recipe in chosen]
    seeds = {seed for _, seed in filter(None, sparsities)}
    sorts = min(memories, SORTS_AT_ONCE, threads or SORTS_AT_ONCE) if None in seeds else 0
    whole = any(not METHODS[recipe.method].by_entry for recipe in chosen)
    working = max(SORT_BYTES * sorts, WHOLE_BYTES * whole)
    stored = any(METHODS[recipe.method].whole(recipe) for recipe in chosen)
    kept = len(seeds) * memories  # a byte for each entry of a task vector, by seed

    def held(name: str) -> int:
        tensors = [inputs.base_tensors[name], *(memory[name] for memory in inputs.memory_tensors)]
        elements = tensors[0].elements
        cast = 4 * elements if inputs.cast_base else 0
        products = 4 * elements * sum(name in adapter.pairs for adapter in inputs.adapters)
        rows = (sum(tensor.end - tensor.start for tensor in tensors) + cast) * stored
        return rows + products + kept * elements

    # In the order in which they are merged: one is worked on while the next is read.
    names = sorted(inputs.tensors)
    most = [
        held(one) + held(other) + working * max(inputs.tensors[one].elements, inputs.tensors[other].elements)
        for one, other in pairwise(names)
    ] or [held(names[0]) + working * inputs.tensors[names[0]].elements]
    return PROCESS_BYTES + max(most)


def least_bytes(base: Path, memories: int, recipes: Iterable[MergeRecipe]) -> int:
    """What merging `memories` bfloat16 memories of `base`, not trained yet, needs at least: a recipe at a time.

    Raises MergeError for a base that is not stored as safetensors.
    """
    from memo_ray.merging.checks import Inputs

    stored = read_tensors(base)
    trained = {name: replace(tensor, end=tensor.start + 2 * tensor.elements) for name, tensor in stored.items()}
    cast = any(tensor.dtype != "BF16" for tensor in stored.values())
    folders = {str(place): base for place in range(memories)}
    inputs = Inputs(base, folders, stored, [trained] * memories, "bfloat16", cast)
    return max((pass_bytes(inputs, [recipe]) for recipe in recipes), default=pass_bytes(inputs, []))
