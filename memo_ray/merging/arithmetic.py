"""Several merges of the same memories in one pass over their weights: every tensor is read once for all recipes.

In go checked inputs, recipes and their outputs; the outputs' tensors are written. mergekit's merge methods do the
arithmetic, in float32, on task vectors (against a base of zeros, to which the true one is added): sparsification is
taken out of them, since recipes share it, and the rest works entry by entry, so that a stretch of a tensor that stays
in the processor's cache goes through all recipes at once. Results equal those of `mergekit-yaml` bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait

import torch
from mergekit import merge_methods
from mergekit.merge_methods.base import TensorEntry, TensorGroup

from memo_ray.config.merging import MergeRecipe
from memo_ray.merging.checks import Inputs
from memo_ray.merging.methods import METHODS
from memo_ray.merging.sparsity import Kept
from memo_ray.merging.weights import Output, read

STRETCH = 1 << 18
"""Entries that go through all recipes together: a megabyte in float32."""

KeptBySeed = Mapping[int | None, Sequence[Kept]]
"""What is kept of each memory's task vector: at random, by seed; None: the largest entries."""


def merge_tensors(
    inputs: Inputs, recipes: Mapping[str, MergeRecipe], outputs: Mapping[str, Output], threads: int
) -> None:
    """Merge by every recipe (by id) into its output, on `threads` threads.

    In memory at a time: the largest tensor of the base and of every memory, the next one, and a sort on each thread.
    """
    merges = {name: _Merge(recipe, len(inputs.memories)) for name, recipe in recipes.items()}
    sparsifying = _Sparsifying(list(merges.values()), len(inputs.memories))
    # For what is not split into stretches; a thread of the pool has one to itself.
    torch.set_num_threads(threads)
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        # In mergekit's order, since random numbers are drawn from tensor to tensor.
        names = sorted(inputs.tensors)
        following = pool.submit(_Stored, inputs, names[0])
        for place, name in enumerate(names):
            stored = following.result()
            if place + 1 < len(names):
                following = pool.submit(_Stored, inputs, names[place + 1])
            kept = sparsifying.keep(stored, pool)
            for one, merge in merges.items():
                if not merge.method.by_entry:
                    whole = merge.merged(stored.base(), stored.task_vectors(), kept)
                    outputs[one].write(name, 0, whole.to(stored.dtype))
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
    base, vectors = stored.base(start, end), stored.task_vectors(start, end)
    for one, merge in merges.items():
        outputs[one].write(name, start, merge.merged(base, vectors, kept, start, end).to(stored.dtype))


def _finish(work: Sequence[Future[None]]) -> None:
    """Wait for all of `work`, or for the first that fails, which is raised."""
    done, left = wait(work, return_when=FIRST_EXCEPTION)
    for future in left:
        future.cancel()
    for future in done:
        future.result()


class _Stored:
    """One tensor of the base and of every memory, in the memories' format."""

    def __init__(self, inputs: Inputs, name: str) -> None:
        self._base = read(inputs.base_tensors[name], inputs.dtype)
        self._memories = [read(tensors[name]) for tensors in inputs.memory_tensors]
        self.dtype, self.size = self._base.dtype, self._base.numel()

    def base(self, start: int = 0, end: int | None = None) -> torch.Tensor:
        """Entries of the base in float32."""
        return self._base[start:end].float()

    def task_vectors(self, start: int = 0, end: int | None = None) -> list[torch.Tensor]:
        """Entries of every tau_i in float32."""
        return [self.task_vector(memory, start, end) for memory in range(len(self._memories))]

    def task_vector(self, memory: int, start: int = 0, end: int | None = None) -> torch.Tensor:
        """Entries of one memory's tau_i in float32."""
        return self._memories[memory][start:end].float() - self.base(start, end)


class _Merge:
    """One recipe, ready to be applied to a tensor or a stretch of it."""

    def __init__(self, recipe: MergeRecipe, memories: int) -> None:
        self.method = METHODS[recipe.method]
        self.sparsity = self.method.sparsity(recipe)
        self._mergekit = merge_methods.get(self.method.mergekit)
        self._parameters = {"weight": self.method.weights(recipe, memories)} | self.method.shared(recipe)

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
        zeros = torch.zeros(()).expand(base.shape)
        entries = [TensorEntry(id=place, tensor=vector) for place, vector in enumerate(vectors)]
        group = TensorGroup(entries=(TensorEntry(id="base", tensor=zeros, is_base=True), *entries))
        (merged,) = self._mergekit([group], parameters=self._parameters)
        return base + merged


class _Sparsifying:
    """Finds what is kept of task vectors, for every density and seed that merges ask for, tensor by tensor."""

    def __init__(self, merges: Sequence[_Merge], memories: int) -> None:
        self._memories = memories
        self._densities: dict[int | None, set[float]] = {}
        for density, seed in filter(None, (merge.sparsity for merge in merges)):
            self._densities.setdefault(seed, set()).add(density)
        self._generators = {seed: torch.Generator().manual_seed(seed) for seed in self._densities if seed is not None}

    def keep(self, stored: _Stored, pool: ThreadPoolExecutor) -> KeptBySeed:
        """What is kept of the next tensor's task vectors, by seed."""
        drawing = {seed: pool.submit(self._draw, seed, stored.size) for seed in self._generators}
        found: dict[int | None, list[Kept]] = {}
        if None in self._densities:
            sorting = [pool.submit(self._sort, stored, memory) for memory in range(self._memories)]
            found[None] = [future.result() for future in sorting]
        return found | {seed: future.result() for seed, future in drawing.items()}

    def _sort(self, stored: _Stored, memory: int) -> Kept:
        return Kept.largest(stored.task_vector(memory), self._densities[None])

    def _draw(self, seed: int, size: int) -> list[Kept]:
        # One memory after the other, as mergekit draws.
        return [Kept.drawn(size, self._densities[seed], self._generators[seed]) for _ in range(self._memories)]
