"""Several merges of the same memories in one pass over their weights: every tensor is read once for all recipes.

In go checked inputs, recipes and their outputs; the outputs' tensors are written. mergekit's merge methods do the
arithmetic, in float32, on task vectors (against a base of zeros, to which the true one is added): sparsification is
taken out of them, since recipes share it, and the rest works entry by entry, so that a stretch of a tensor that stays
in the processor's cache goes through all recipes at once. Results equal those of `mergekit-yaml` bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from threading import Semaphore

import torch
from mergekit import merge_methods
from mergekit.merge_methods.base import TensorEntry, TensorGroup

from memo_ray.config.merging import MergeRecipe
from memo_ray.errors import MergeError
from memo_ray.merging.checks import Inputs
from memo_ray.merging.headers import will_need
from memo_ray.merging.memory import SORTS_AT_ONCE
from memo_ray.merging.methods import METHODS
from memo_ray.merging.sparsity import Kept
from memo_ray.merging.weights import Output, read

STRETCH = 1 << 18
"""Entries that go through all recipes together: a megabyte in float32."""

OPPOSITE = 1e-6
"""How near to -1 the cosine of two task vectors may be before their angle is rounding."""

KeptBySeed = Mapping[int | None, Sequence[Kept]]
"""What is kept of each memory's task vector: at random, by seed; None: the largest entries."""


def merge_tensors(
    inputs: Inputs, recipes: Mapping[str, MergeRecipe], outputs: Mapping[str, Output], threads: int
) -> None:
    """Merge by every recipe (by id) into its output, on `threads` threads.

    In memory at a time: stretches alone or, for recipes that need tensors as a whole, one tensor of the base and of
    every memory, the next one, and SORTS_AT_ONCE sorts of the largest (`memory.pass_bytes`).
    """
    merges = {name: _Merge(recipe, len(inputs.memories)) for name, recipe in recipes.items()}
    largest = max(tensor.elements for tensor in inputs.tensors.values())
    sparsifying = _Sparsifying(list(merges.values()), len(inputs.memories), largest)
    # For what is not split into stretches; a thread of the pool has one to itself.
    torch.set_num_threads(threads)
    read_whole = any(METHODS[recipe.method].whole(recipe) for recipe in recipes.values())
    with (
        ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        ThreadPoolExecutor(1) as ahead,
    ):
        # In mergekit's order, since random numbers are drawn from tensor to tensor.
        names = sorted(inputs.tensors)
        following = _begin_to_read(inputs, names[0], pool) if read_whole else []
        for place, name in enumerate(names):
            stored = _Stored(inputs, name, [reading.result() for reading in following])
            following = []
            if place + 1 < len(names):
                if read_whole:
                    following = _begin_to_read(inputs, names[place + 1], pool)
                else:
                    ahead.submit(_read_ahead, inputs, names[place + 1])
            kept = sparsifying.keep(stored, pool)
            for one, merge in merges.items():
                if not merge.method.by_entry:
                    base = stored.base()
                    whole = merge.merged(base, stored.task_vectors(base), kept)
                    outputs[one].write(name, 0, stored.checked(whole, one))
            by_entry = {one: merge for one, merge in merges.items() if merge.method.by_entry}
            starts = range(0, stored.size, STRETCH) if by_entry else ()
            _finish([pool.submit(_merge_stretch, name, start, stored, kept, by_entry, outputs) for start in starts])


def _merge_stretch(
    name: str,
    start: int,
    stored: _Stored,
    kept: KeptBySeed,
    merges: Mapping[str, _Merge],
    outputs: Mapping[str, Output],
) -> None:
    end = min(start + STRETCH, stored.size)
    base = stored.base(start, end)
    vectors = stored.task_vectors(base, start, end)
    of_adapters = stored.adapter_vectors(start, end)
    for one, merge in merges.items():
        taken = of_adapters if of_adapters and merge.method.sums else vectors
        merged = merge.merged(base, taken, kept, start, end)
        outputs[one].write(name, start, stored.checked(merged, one))


def _finish(work: Sequence[Future[None]]) -> None:
    """Wait for all of `work`, or for the first that fails, which is raised."""
    done, left = wait(work, return_when=FIRST_EXCEPTION)
    for future in left:
        future.cancel()
    for future in done:
        future.result()


def _begin_to_read(inputs: Inputs, name: str, pool: ThreadPoolExecutor) -> list[Future[torch.Tensor]]:
    """The tensor `name` of the base, rounded to the memories' format, and of every memory."""
    memories = [pool.submit(read, tensors[name]) for tensors in inputs.memory_tensors]
    return [pool.submit(read, inputs.base_tensors[name], inputs.dtype), *memories]


def _read_ahead(inputs: Inputs, name: str) -> None:
    for tensors in (inputs.base_tensors, *inputs.memory_tensors):
        will_need(tensors[name].file, tensors[name].start, tensors[name].end - tensors[name].start)


class _Stored:
    """One tensor of the base and of every memory, in the memories' format: `rows`, or read as entries are asked for."""

    def __init__(self, inputs: Inputs, name: str, rows: Sequence[torch.Tensor]) -> None:
        self._rows, self._name, self._folders = rows, name, [inputs.base, *inputs.memories.values()]
        self._tensors = [inputs.base_tensors[name], *(tensors[name] for tensors in inputs.memory_tensors)]
        self._format = inputs.dtype
        self.dtype, self.size = getattr(torch, inputs.dtype), self._tensors[0].elements
        self._adapters = [adapter.task_vector(name) for adapter in inputs.adapters]

    def base(self, start: int = 0, end: int | None = None) -> torch.Tensor:
        """Entries of the base in float32."""
        return self._entries(0, start, end).to(torch.float32, copy=True)

    def task_vectors(self, base: torch.Tensor, start: int = 0, end: int | None = None) -> list[torch.Tensor]:
        """Entries of every tau_i in float32; `base` are the base's."""
        places = range(1, len(self._tensors))
        return [self._entries(place, start, end).to(torch.float32, copy=True).sub_(base) for place in places]

    def task_vector(self, memory: int) -> torch.Tensor:
        """One memory's tau_i in float32."""
        return self._entries(1 + memory).to(torch.float32, copy=True).sub_(self._entries(0))

    def _entries(self, place: int, start: int = 0, end: int | None = None) -> torch.Tensor:
        if self._rows:
            return self._rows[place][start:end]
        return read(self._tensors[place], None if place else self._format, start, end)

    def checked(self, merged: torch.Tensor, recipe: str) -> torch.Tensor:
        """Merged entries in the memories' format. Raises MergeError when one of them is infinite or not a number."""
        rounded = merged.to(self.dtype)
        # One that is not makes the sum so too, and a sum is quicker; one of finite numbers may still overflow.
        if bool(rounded.sum(dtype=torch.float32).isfinite()) or bool(rounded.isfinite().all()):
            return rounded
        for place, folder in enumerate(self._folders):
            if not bool(self._entries(place).isfinite().all()):
                raise MergeError(f"{folder}: {self._name} holds numbers that are not finite; make the model again")
        raise MergeError(
            f"{recipe}: {self._name} becomes too large for {str(self.dtype).removeprefix('torch.')}; "
            "take a smaller scale or a larger density"
        )

    def adapter_vectors(self, start: int, end: int) -> list[torch.Tensor]:
        """The same of adapters, without the rounding that folding them brought; none unless they are merged so."""
        nothing = torch.zeros(end - start)
        return [nothing if vector is None else vector[start:end] for vector in self._adapters]


class _Merge:
    """One recipe, ready to be applied to a tensor or a stretch of it."""

    def __init__(self, recipe: MergeRecipe, memories: int) -> None:
        self.method = METHODS[recipe.method]
        self.sparsity = self.method.sparsity(recipe)
        self._mergekit = merge_methods.get(self.method.mergekit)
        self._weights = self.method.weights(recipe, memories)
        self._parameters = {"weight": self._weights} | self.method.shared(recipe)

    def merged(
        self,
        base: torch.Tensor,
        vectors: Sequence[torch.Tensor],
        kept: KeptBySeed,
        start: int = 0,
        end: int | None = None,
    ) -> torch.Tensor:
        """`base` with the merged task vector added, in float32; both are the entries from `start` to `end`."""
        if self.sparsity is not None:
            density, seed = self.sparsity
            masks = [one.mask(density, start, end) for one in kept[seed]]
            vectors = [vector * mask for vector, mask in zip(vectors, masks, strict=True)]
        if not self.method.by_entry and _opposite(vectors):
            # No arc leads from one to the other: what rounding left of sin(theta) would multiply their sum.
            return base + sum(weight * vector for weight, vector in zip(self._weights, vectors, strict=True))
        zeros = torch.zeros(()).expand(base.shape)
        entries = [TensorEntry(id=place, tensor=vector) for place, vector in enumerate(vectors)]
        group = TensorGroup(entries=(TensorEntry(id="base", tensor=zeros, is_base=True), *entries))
        (merged,) = self._mergekit([group], parameters=self._parameters)
        return base + merged


def _opposite(vectors: Sequence[torch.Tensor]) -> bool:
    """Whether SLERP's two task vectors are opposite to float32's precision, as where few entries were trained."""
    one, other = vectors
    size = float(one.norm()) * float(other.norm())
    return size > 0 and float(one @ other) <= (OPPOSITE - 1) * size


class _Sparsifying:
    """Finds what is kept of task vectors, for every density and seed that merges ask for, tensor by tensor."""

    def __init__(self, merges: Sequence[_Merge], memories: int, largest: int) -> None:
        self._memories, self._largest = memories, largest
        self._densities: dict[int | None, set[float]] = {}
        for density, seed in filter(None, (merge.sparsity for merge in merges)):
            self._densities.setdefault(seed, set()).add(density)
        self._generators = {seed: torch.Generator().manual_seed(seed) for seed in self._densities if seed is not None}

    def keep(self, stored: _Stored, pool: ThreadPoolExecutor) -> KeptBySeed:
        """What is kept of the next tensor's task vectors, by seed."""
        drawing = {seed: pool.submit(self._draw, seed, stored.size) for seed in self._generators}
        found: dict[int | None, list[Kept]] = {}
        if None in self._densities:
            room = Semaphore(max(SORTS_AT_ONCE, SORTS_AT_ONCE * self._largest // max(1, stored.size)))
            sorting = [pool.submit(self._sort, stored, memory, room) for memory in range(self._memories)]
            found[None] = [future.result() for future in sorting]
        return found | {seed: future.result() for seed, future in drawing.items()}

    def _sort(self, stored: _Stored, memory: int, room: Semaphore) -> Kept:
        with room:
            return Kept.largest(stored.task_vector(memory).abs_(), self._densities[None])

    def _draw(self, seed: int, size: int) -> list[Kept]:
        # One memory after the other, as mergekit draws.
        return [Kept.drawn(size, self._densities[seed], self._generators[seed]) for _ in range(self._memories)]
