"""Numbers that are not finite stop a merge, with the tensor's name, and get into no folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from memo_ray.config.merging import DareTies, Linear, MergeRecipe, Slerp, TaskArithmetic
from memo_ray.errors import MergeError
from memo_ray.merging.checks import check
from memo_ray.merging.geometry import measure
from memo_ray.merging.merge import MergeJob, merge
from tests.unit.merging.tiny import make_base, make_memories, read, rewrite

NORM = "model.norm.weight"


@pytest.fixture
def made(tiny_model: Path, tmp_path: Path) -> tuple[Path, dict[str, Path]]:
    base = make_base(tiny_model, tmp_path / "base")
    return base, make_memories(base, tmp_path, 2)


def with_first(value: float) -> Any:
    def change(tensors: dict[str, Any]) -> dict[str, Any]:
        tensors[NORM][0] = value
        return tensors

    return change


@pytest.mark.parametrize("recipe", [Linear(method="linear"), Slerp(method="slerp", t=0.5)])
def test_a_memory_with_a_nan_is_named(recipe: MergeRecipe, made: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    base, memories = made
    rewrite(memories["b"], with_first(float("nan")))
    with pytest.raises(MergeError, match=r"/b: model\.norm\.weight holds numbers that are not finite"):
        merge(MergeJob(recipes=(recipe,), base=base, memories=memories, threads=1), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(MergeError, match=r"/b: model\.norm\.weight holds numbers that are not finite"):
        measure(check(base, memories))


def test_a_sum_that_overflows_names_the_recipe(made: tuple[Path, dict[str, Path]], tmp_path: Path) -> None:
    base, memories = made
    rewrite(memories["a"], with_first(3e38))
    recipe = TaskArithmetic(method="task_arithmetic", scale=10)
    with pytest.raises(MergeError, match=r"task-arithmetic-s10: model\.norm\.weight becomes too large for bfloat16"):
        merge(MergeJob(recipes=(recipe,), base=base, memories=memories, threads=1), tmp_path / "out")


def test_parameters_that_can_only_overflow_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.01"):
        DareTies(method="dare_ties", density=1e-40)
    with pytest.raises(ValidationError, match="less than or equal to 10"):
        TaskArithmetic(method="task_arithmetic", scale=1e39)


def test_opposite_task_vectors_are_merged_along_the_straight_line(
    made: tuple[Path, dict[str, Path]], tmp_path: Path
) -> None:
    """Two entries of a norm's gains, trained the opposite way: their cosine is -1 but for a rounding."""
    base, memories = made
    for folder, step in ((base, 0), (memories["a"], 0.25), (memories["b"], -0.5)):
        gains = torch.ones(32, dtype=torch.bfloat16)
        gains[[3, 7]] += step
        rewrite(folder, lambda tensors, gains=gains: tensors | {NORM: gains})
    merge(MergeJob(recipes=(Slerp(method="slerp", t=0.5),), base=base, memories=memories, threads=1), tmp_path / "out")
    merged = read(tmp_path / "out" / "slerp-t0.5")[NORM]
    assert merged[[3, 7]].tolist() == [0.875, 0.875]
    assert merged.sum() == 30 + 2 * 0.875
