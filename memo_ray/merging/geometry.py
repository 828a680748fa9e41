"""How the task vectors of several memories lie to each other, from their weights alone.

In go the checked inputs of a merge; out come, for every layer and over all, the norms of the task vectors beside the
base's, the cosine of each pair, and how much of each pair pulls in opposite directions. Tensors are read in slices of
bounded size, so memory does not grow with the model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

from memo_ray.errors import MergeError
from memo_ray.merging.checks import Inputs, read_tensors

if TYPE_CHECKING:
    import torch

SLICE = 1 << 24
"""Elements read of one tensor at a time: 64 MB for the base and each memory in float32."""

LAYER = re.compile(r"\blayers?\.(\d+)\.|\bh\.(\d+)\.")
PARTS = (("embed", "embeddings"), ("wte", "embeddings"), ("lm_head", "head"))
"""What a tensor outside the layers is called, by a piece of its name; else `other`."""


@dataclass(frozen=True)
class Layer:
    """The task vectors in one layer, or `all` of them together.

    `norms`: L2 norm of each memory's task vector, `base_norm` of the base there. By pair, named `a & b`: `cosine` of
    the two task vectors, -1 to 1, and `conflict`, the share of entries with opposite signs, 0 to 1, each weighted by
    the product of the two magnitudes: an entry that only one memory moved is no conflict.
    """

    name: str
    elements: int
    base_norm: float
    norms: dict[str, float]
    cosine: dict[str, float]
    conflict: dict[str, float]

    def relative(self, memory: str) -> float:
        """A task vector's norm by the base's."""
        return self.norms[memory] / self.base_norm if self.base_norm else 0.0

    def own_share(self, memory: str) -> float:
        """How much of the sum of all task vectors lies along this memory's own, 0 to 1: the squared cosine of the
        two. 1/K for K memories of equal norm that are orthogonal; the scale of a merge does not change it."""
        names = list(self.norms)
        along = sum(self._product(memory, other) for other in names)
        total = sum(self._product(one, other) for one in names for other in names)
        if along <= 0 or total <= 0:
            return 0.0
        return min(1.0, along**2 / (total * self.norms[memory] ** 2))

    def _product(self, one: str, other: str) -> float:
        if one == other:
            return self.norms[one] ** 2
        cosine = self.cosine.get(pair(one, other), self.cosine.get(pair(other, one), 0.0))
        return cosine * self.norms[one] * self.norms[other]


@dataclass(frozen=True)
class Geometry:
    """Every layer in the order of the model, and `overall`, all of them as one vector."""

    layers: tuple[Layer, ...]
    overall: Layer


def pair(one: str, other: str) -> str:
    """How two memories are named together."""
    return f"{one} & {other}"


def measure(inputs: Inputs) -> Geometry:
    """The geometry of the memories' task vectors. Needs memory for `SLICE` elements of the base and each memory.

    Raises MergeError for weights that are not finite.
    """
    layers: dict[str, _Sums] = {}
    for name, base, vectors in _slices(inputs):
        sums = _Sums()
        sums.add(base, vectors)
        for folder, square in (
            (inputs.base, sums.base),
            *((inputs.memories[one], sums.squares[one]) for one in vectors),
        ):
            if not math.isfinite(square):
                raise MergeError(f"{folder}: {name} holds numbers that are not finite; make the model again")
        layers.setdefault(layer_of(name), _Sums()).join(sums)
    overall = _Sums()
    for sums in layers.values():
        overall.join(sums)
    return Geometry(tuple(sums.layer(name) for name, sums in layers.items()), overall.layer("all"))


def layer_of(tensor: str) -> str:
    """The layer that a tensor belongs to: `layer 3`, `embeddings`, `head` or `other`."""
    if found := LAYER.search(tensor):
        return f"layer {found[1] or found[2]}"
    return next((part for piece, part in PARTS if piece in tensor), "other")


@dataclass
class _Sums:
    """Sums over entries in float64, from which a Layer's figures follow."""

    elements: int = 0
    base: float = 0.0
    squares: dict[str, float] = field(default_factory=dict)
    products: dict[tuple[str, str], float] = field(default_factory=dict)
    magnitudes: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(self, base: torch.Tensor, vectors: Mapping[str, torch.Tensor]) -> None:
        self.elements += base.numel()
        self.base += _sum(base * base)
        for name, vector in vectors.items():
            self.squares[name] = self.squares.get(name, 0.0) + _sum(vector * vector)
        for two in combinations(vectors, 2):
            product = vectors[two[0]] * vectors[two[1]]
            self.products[two] = self.products.get(two, 0.0) + _sum(product)
            self.magnitudes[two] = self.magnitudes.get(two, 0.0) + _sum(product.abs_())

    def join(self, other: _Sums) -> None:
        self.elements += other.elements
        self.base += other.base
        for mine, its in (
            (self.squares, other.squares),
            (self.products, other.products),
            (self.magnitudes, other.magnitudes),
        ):
            for key, value in its.items():
                mine[key] = mine.get(key, 0.0) + value  # type: ignore[index]  # the three differ in their keys

    def layer(self, name: str) -> Layer:
        norms = {memory: math.sqrt(square) for memory, square in self.squares.items()}
        cosine, conflict = {}, {}
        for (one, other), product in self.products.items():
            size, magnitude = norms[one] * norms[other], self.magnitudes[one, other]
            cosine[pair(one, other)] = product / size if size else 0.0
            conflict[pair(one, other)] = (magnitude - product) / (2 * magnitude) if magnitude else 0.0
        return Layer(name, self.elements, math.sqrt(self.base), norms, cosine, conflict)


def _sum(values: torch.Tensor) -> float:
    import torch

    return float(values.sum(dtype=torch.float64))


def _slices(inputs: Inputs) -> Iterator[tuple[str, torch.Tensor, dict[str, torch.Tensor]]]:
    """A tensor's name with a slice of the base and of each task vector, flat and in float32."""
    import torch
    from safetensors import safe_open

    stored = {name: read_tensors(folder) for name, folder in {"": inputs.base, **inputs.memories}.items()}
    files = {tensors[name].file for tensors in stored.values() for name in inputs.tensors}
    with ExitStack() as stack:
        opened: dict[Any, Any] = {file: stack.enter_context(safe_open(file, framework="pt")) for file in files}
        for name, tensor in inputs.tensors.items():
            rows = tensor.shape[0] if tensor.shape else 1
            step = max(1, SLICE * rows // max(1, tensor.elements))
            for start in range(0, rows, step):
                parts = {
                    memory: _part(opened[tensors[name].file], name, tensor.shape, start, start + step)
                    for memory, tensors in stored.items()
                }
                base = parts.pop("")
                if inputs.cast_base:  # what the memories started from
                    base = base.to(getattr(torch, inputs.dtype))
                base = base.float()
                yield name, base, {memory: part.float() - base for memory, part in parts.items()}


def _part(file: Any, name: str, shape: tuple[int, ...], start: int, end: int) -> torch.Tensor:
    values = file.get_slice(name)[start:end] if shape else file.get_tensor(name)
    return values.flatten()
