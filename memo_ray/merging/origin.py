"""Whether memories were fine-tuned from the base that is given, told from a few rows of a few of their matrices.

In a run the memories' records hold the digest of their base; for folders that are merged by hand the weights alone can
tell. In go inputs that passed `checks.check`; out comes nothing, or a MergeError that names the memory and the tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from memo_ray.errors import MergeError
from memo_ray.merging.headers import BYTES, Tensor
from memo_ray.merging.weights import read

if TYPE_CHECKING:
    import torch

    from memo_ray.merging.checks import Inputs

SAMPLED = 9
"""Matrices that are looked at, evenly spaced by name."""
ENTRIES = 1 << 16
"""Entries that are read of each: whole rows from its middle, at least one."""

FOREIGN = 0.9
"""|memory - base| / |base| of the middle one of the sampled matrices, from which on a memory is of another base.
Vectors that have nothing to do with each other are orthogonal and give at least 1 whatever their norms are, sqrt(2)
if these are equal; fine-tuning gives a few hundredths (docs/merging.md has what was measured)."""
UNFOLDED = 0.02
"""The same of what is left when an adapter's own change is taken away too. Rounding to bfloat16 gives 0.002."""


def check_origin(inputs: Inputs) -> None:
    """Raise MergeError for a memory that is not of the base, and for an adapter that was not folded into it.

    Memories of a base's close relative (its instruct model) pass for full models: their weights do not tell.
    """
    names = _sampled(inputs)
    for place, (memory, folder) in enumerate(inputs.memories.items()):
        found = sorted((_relative(inputs, place, name), name) for name in names)
        if not found:
            continue
        moved, name = found[-1] if inputs.adapters else found[len(found) // 2]
        if inputs.adapters and moved > UNFOLDED:
            adapter = inputs.adapters[place]
            named = adapter.config.get("base_model_name_or_path") or "none"
            raise MergeError(
                f"{adapter.folder}: memory {memory}'s {name} is not that of {inputs.base} with the adapter's change "
                f"(off by {moved:.2g} of its norm); give the base that it was trained from (its config names {named})"
            )
        if moved > FOREIGN:
            raise MergeError(
                f"{folder}: memory {memory} was not fine-tuned from {inputs.base}: |memory - base| / |base| of {name} "
                f"is {moved:.2f}, and from {FOREIGN} on two models have nothing in common; give the base that it was "
                "trained from"
            )


def _sampled(inputs: Inputs) -> list[str]:
    """Matrices alone: gains of norms are near 1 in all models."""
    names = sorted(name for name, tensor in inputs.tensors.items() if len(tensor.shape) > 1 and tensor.elements)
    step = max(1, len(names) // SAMPLED)
    return names[step // 2 :: step]


def _relative(inputs: Inputs, place: int, name: str) -> float:
    """|memory - base| / |base| in the sampled rows, the adapter's own change taken away; 0 where the base is 0."""
    rows = _rows(inputs.tensors[name])
    base = _read(inputs.base_tensors[name], rows, inputs.dtype)
    left = _read(inputs.memory_tensors[place][name], rows).sub_(base)
    if inputs.adapters and name in inputs.adapters[place].pairs:
        down, up = inputs.adapters[place].factors(name)
        left -= (up[rows.start : rows.stop] @ down).mul_(inputs.adapters[place].scale).view(-1)
    size = float(base.norm())
    return float(left.norm()) / size if size else 0.0


def _rows(tensor: Tensor) -> range:
    rows = tensor.shape[0]
    count = min(rows, max(1, ENTRIES * rows // tensor.elements))
    start = (rows - count) // 2
    return range(start, start + count)


def _read(tensor: Tensor, rows: Sequence[int], dtype: str | None = None) -> torch.Tensor:
    """Rows of a tensor in float32, rounded to `dtype` first."""
    row_bytes = tensor.elements // tensor.shape[0] * BYTES[tensor.dtype]
    start = tensor.start + rows[0] * row_bytes
    return read(replace(tensor, start=start, end=start + len(rows) * row_bytes), dtype).float()
