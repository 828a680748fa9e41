"""What is kept of a task vector, against mergekit's own sparsification of it, one density at a time."""

from __future__ import annotations

import pytest
import torch

from memo_ray.merging import sparsity
from memo_ray.merging.sparsity import Kept

DENSITIES = (0.3, 0.7, 0.05, 0.0001)


def task_vector() -> torch.Tensor:
    """Differences of bfloat16 numbers: many are equally large."""
    start = torch.randn(5000, generator=torch.Generator().manual_seed(0)) * 0.05
    end = start + torch.randn(5000, generator=torch.Generator().manual_seed(1)) * 0.001
    return end.bfloat16().float() - start.bfloat16().float()


def test_the_largest_entries_are_those_that_mergekit_keeps_ties_included() -> None:
    from mergekit.sparsify import magnitude

    vector = task_vector()
    assert vector.abs().unique().numel() < vector.numel() / 2
    kept = Kept.largest(vector.abs(), DENSITIES)
    for density in DENSITIES:
        assert torch.equal(vector * kept.mask(density, 0, None), magnitude(vector, density))


def test_random_entries_are_those_that_mergekit_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    from mergekit.sparsify import bernoulli

    monkeypatch.setattr(sparsity, "STRETCH", 999)
    vector, generator = task_vector(), torch.Generator().manual_seed(7)
    first, second = (Kept.drawn(vector.numel(), DENSITIES, generator) for _ in range(2))
    for density in DENSITIES:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            for kept in (first, second):
                assert torch.equal(vector * kept.mask(density, 0, None), bernoulli(vector, density))


def test_a_stretch_of_the_mask_is_a_part_of_it() -> None:
    kept = Kept.largest(task_vector().abs(), DENSITIES)
    assert torch.equal(kept.mask(0.3, 100, 164), kept.mask(0.3, 0, None)[100:164])
