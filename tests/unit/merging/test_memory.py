"""The memory that a pass reserves: by its recipes, and no more than they need."""

from __future__ import annotations

from pathlib import Path

import pytest

from memo_ray.config.merging import DareTies, Linear, MergeRecipe, Slerp, Ties
from memo_ray.errors import MergeError
from memo_ray.merging.checks import Inputs
from memo_ray.merging.headers import Tensor
from memo_ray.merging.memory import PROCESS_BYTES, least_bytes, pass_bytes
from memo_ray.merging.ray_trials import check_before_training
from memo_ray.models import ray_limits
from tests.unit.merging.tiny import make_base

EMBEDDING = (151936, 896)
ENTRIES = EMBEDDING[0] * EMBEDDING[1]


def inputs(memories: int) -> Inputs:
    """Memories with one tensor, of the size of a 0.5B model's embedding, in bfloat16."""
    tensors = {"e": Tensor("BF16", EMBEDDING, Path("x"), 0, 2 * ENTRIES)}
    return Inputs(
        Path("b"), {str(n): Path("x") for n in range(memories)}, tensors, [tensors] * memories, "bfloat16", False
    )


@pytest.mark.parametrize(
    ("recipes", "threads", "bytes_an_entry"),
    [
        ([Linear(method="linear")], 0, 0),
        ([Ties(method="ties", density=1)], 0, 0),
        ([Ties(method="ties", density=0.5), Ties(method="ties", density=0.3)], 0, 10 + 4 + 56),
        ([Ties(method="ties", density=0.5)], 1, 10 + 4 + 28),
        ([DareTies(method="dare_ties", density=0.5, seed=n) for n in range(3)], 0, 12),
    ],
)
def test_four_memories_take_what_their_recipes_need(
    recipes: list[MergeRecipe], threads: int, bytes_an_entry: int
) -> None:
    assert pass_bytes(inputs(4), recipes, threads) == PROCESS_BYTES + bytes_an_entry * ENTRIES


def test_slerp_takes_its_task_vectors_whole() -> None:
    assert pass_bytes(inputs(2), [Slerp(method="slerp", t=0.5)]) == PROCESS_BYTES + (6 + 56) * ENTRIES


def test_a_merge_that_no_node_can_hold_is_refused_before_training(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from memo_ray.config.merging import MergingConfig

    base, config = make_base(tiny_model, tmp_path / "base"), MergingConfig()
    needed = least_bytes(base, 3, [Linear(method="linear"), Ties(method="ties", density=0.5)])
    nodes = [{"Alive": True, "Resources": {"memory": needed}}]
    monkeypatch.setattr(ray_limits.ray, "nodes", lambda: nodes)
    check_before_training(config, base, 3)
    nodes[0]["Resources"] = {"memory": needed - 1}
    with pytest.raises(MergeError, match="one pass may need"):
        check_before_training(config, base, 3)
