"""Whether memories were fine-tuned from the base that is given, told from a few rows of a few of their matrices.

In a run the memories' records hold the digest of their base; for folders that are merged by hand the weights alone can
tell. In go inputs that passed `checks.check`; out comes nothing, or a MergeError that names the memory and the tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memo_ray.errors import MergeError
from memo_ray.merging.headers import Tensor
from memo_ray.merging.weights import read

if TYPE_CHECKING:
    import torch

    from memo_ray.merging.checks import Inputs

SAMPLED = 9
"""Matrices that are looked at, evenly spaced by name."""
ENTRIES = 1 << 16
"""Entries that are read of each: whole rows from its middle, at least one."""

FOREIGN = 0.5
"""Cosine between memory and base in the middle one of the sampled matrices, below which a memory is of another base.
Weights that have nothing to do with each other are orthogonal whatever their norms are; fine-tuning leaves it above
0.99 (docs/merging.md has what was measured)."""
UNFOLDED = 0.02
"""|what is left| / |base| when base and the adapter's own change are taken away. Rounding to bfloat16 gives 0.002."""


def check_origin(inputs: Inputs) -> None:
    """Raise MergeError for a memory that is not of the base, and for an adapter that was not folded into it.

    Memories of a base's close relative (its instruct model) pass for full models: their weights do not tell.
    """
    names = _sampled(inputs)
    for place, (memory, folder) in enumerate(inputs.memories.items() if names else ()):
        if inputs.adapters:
            left, name = max((_unfolded(inputs, place, name), name) for name in names)
            adapter = inputs.adapters[place]
            named = adapter.config.get("base_model_name_or_path") or "none"
            if left > UNFOLDED:
                raise MergeError(
                    f"{adapter.folder}: memory {memory}'s {name} is not that of {inputs.base} with the adapter's "
                    f"change (off by {left:.2g} of its norm); give the base that it was trained from (its config "
                    f"names {named})"
                )
            continue
        found = sorted((_cosine(inputs, place, name), name) for name in names)
        cosine, name = found[len(found) // 2]
        if cosine < FOREIGN:
            raise MergeError(
                f"{folder}: memory {memory} was not fine-tuned from {inputs.base}: the cosine between their {name} is "
                f"{cosine:.2f}, and fine-tuning leaves it near 1; give the base that it was trained from"
            )


def _sampled(inputs: Inputs) -> list[str]:
    """Matrices alone: gains of norms are near 1 in all models."""
    names = sorted(name for name, tensor in inputs.tensors.items() if len(tensor.shape) > 1 and tensor.elements)
    step = max(1, len(names) // SAMPLED)
    return names[step // 2 :: step]


def _cosine(inputs: Inputs, place: int, name: str) -> float:
    """Between memory and base in the sampled rows; 1 where either is 0, which tells nothing."""
    base, memory = _sampled_rows(inputs, place, name)
    size = float(base.norm()) * float(memory.norm())
    return float(base @ memory) / size if size else 1.0


def _unfolded(inputs: Inputs, place: int, name: str) -> float:
    """|memory - base - adapter's change| / |base| in the sampled rows; 0 where the base is 0."""
    base, memory = _sampled_rows(inputs, place, name)
    left = memory - base
    if name in inputs.adapters[place].pairs:
        rows = _rows(inputs.tensors[name])
        down, up = inputs.adapters[place].factors(name)
        left -= (up[rows.start : rows.stop] @ down).mul_(inputs.adapters[place].scale).view(-1)
    size = float(base.norm())
    return float(left.norm()) / size if size else 0.0


def _sampled_rows(inputs: Inputs, place: int, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the base, in the memories' format, and of a memory; in float32."""
    rows = _rows(inputs.tensors[name])
    width = inputs.tensors[name].elements // inputs.tensors[name].shape[0]
    entries = rows.start * width, rows.stop * width
    base = read(inputs.base_tensors[name], inputs.dtype, *entries).float()
    return base, read(inputs.memory_tensors[place][name], None, *entries).float()


def _rows(tensor: Tensor) -> range:
    rows = tensor.shape[0]
    count = min(rows, max(1, ENTRIES * rows // tensor.elements))
    start = (rows - count) // 2
    return range(start, start + count)
