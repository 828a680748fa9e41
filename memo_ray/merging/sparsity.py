"""Which entries of task vectors TIES keeps and DARE does not drop, for all densities of a merge at once.

What costs most in a sweep is sorting task vectors (TIES) and drawing random numbers (DARE). Both are done once for a
task vector and seed here, and give the very entries that mergekit's `magnitude` and `bernoulli` keep for each density.
"""

from __future__ import annotations

from collections.abc import Collection

import torch

STRETCH = 1 << 20
"""Random numbers drawn at once."""


class Kept:
    """The kept entries of one task vector by density, in one byte an entry: entries of a lower density are kept by
    every higher one too."""

    def __init__(self, size: int, densities: Collection[float]) -> None:
        self._densities = sorted(densities, reverse=True)
        self._level = torch.zeros(size, dtype=torch.uint8)

    def mask(self, density: float, start: int, end: int | None) -> torch.Tensor:
        """Whether the entries from `start` to `end` are kept, as booleans."""
        return self._level[start:end] > self._densities.index(density)

    @classmethod
    def largest(cls, magnitudes: torch.Tensor, densities: Collection[float]) -> Kept:
        """Of each density, that share of the entries with the largest `magnitudes` (TIES' trimming).

        Of entries that are equally large mergekit keeps those that its sort happens to put first; so does this.
        """
        kept = cls(magnitudes.numel(), densities)
        order = torch.argsort(magnitudes, descending=True)
        for level, density in enumerate(kept._densities, start=1):
            kept._level[order[: max(1, int(density * magnitudes.numel()))]] = level
        return kept

    @classmethod
    def drawn(cls, size: int, densities: Collection[float], generator: torch.Generator) -> Kept:
        """Of each density, entries kept at random with that probability (DARE), by the same numbers for all of them."""
        kept = cls(size, densities)
        for start in range(0, size, STRETCH):
            level = kept._level[start : start + STRETCH]
            numbers = torch.rand(level.numel(), generator=generator)
            for density in kept._densities:
                level += numbers < torch.tensor(density)
        return kept
