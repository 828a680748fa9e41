"""Recipes: what a user may write, their ids, the paper's preset, and the configuration that mergekit gets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from memo_ray.config.merging import (
    DareLinear,
    DareTies,
    Linear,
    MergingConfig,
    SearchConfig,
    Slerp,
    TaskArithmetic,
    Ties,
)
from memo_ray.errors import MergeError
from memo_ray.merging.recipes import PAPER, choose, mergekit_config, parameters, recipe_id

SLERP = Slerp(method="slerp", t=0.5)
TIES = Ties(method="ties", density=0.3)


def written(recipes: Any) -> MergingConfig:
    return MergingConfig.model_validate_json(json.dumps({"recipes": recipes}))


@pytest.mark.parametrize(
    ("recipes", "where"),
    [
        ("papr", ("paper",)),
        ({}, ("list",)),
        (["ties"], ("list", 0)),
        ([{"density": 0.5}], ("list", 0)),
        ([{"method": "tie", "density": 0.5}], ("list", 0)),
        ([{"method": "ties"}], ("list", 0, "ties", "density")),
        ([{"method": "ties", "density": 0}], ("list", 0, "ties", "density")),
        ([{"method": "ties", "density": 1.01}], ("list", 0, "ties", "density")),
        ([{"method": "ties", "density": "0.5"}], ("list", 0, "ties", "density")),
        ([{"method": "ties", "density": 0.5, "lambda": 2}], ("list", 0, "ties", "lambda")),
        ([{"method": "linear", "weight": 0.5}], ("list", 0, "linear", "weight")),
        ([{"method": "linear"}, {"method": "slerp", "t": -0.1}], ("list", 1, "slerp", "t")),
        ([{"method": "slerp", "t": 1.1}], ("list", 0, "slerp", "t")),
        ([{"method": "slerp"}], ("list", 0, "slerp", "t")),
        ([{"method": "task_arithmetic", "scale": 0}], ("list", 0, "task_arithmetic", "scale")),
        ([{"method": "dare_linear", "density": 0.5, "seed": -1}], ("list", 0, "dare_linear", "seed")),
        ([{"method": "dare_linear", "density": 0.5, "seed": 1.5}], ("list", 0, "dare_linear", "seed")),
        ([{"method": "dare_ties", "density": 0.5, "seed": 2**32}], ("list", 0, "dare_ties", "seed")),
    ],
)
def test_the_schema_refuses_what_mergekit_would_ignore_or_misread(recipes: Any, where: tuple[Any, ...]) -> None:
    with pytest.raises(ValidationError) as caught:
        written(recipes)
    # A list with a bad item is also reported as too short.
    first, *rest = caught.value.errors()
    assert first["loc"] == ("recipes", *where)
    assert [error["type"] for error in rest] in ([], ["too_short"])


def test_a_list_as_a_parameters_value_is_a_grid() -> None:
    grid = {"method": "dare_ties", "density": [0.3, 0.5], "seed": [0, 7]}
    names = ["linear", "dare-ties-d0.3", "dare-ties-d0.3-seed7", "dare-ties-d0.5", "dare-ties-d0.5-seed7"]
    config = written([{"method": "linear"}, grid])
    assert [recipe_id(recipe) for recipe in config.recipes if not isinstance(recipe, str)] == names
    with pytest.raises(ValidationError, match="less than or equal to 1"):
        written([{"method": "ties", "density": [0.5, 1.5]}])


def test_a_search_needs_no_recipes_beside_it_and_nothing_is_no_sweep() -> None:
    alone = MergingConfig.model_validate_json('{"search": {"trials": 3}}')
    assert alone.recipes == ()
    assert choose(alone, 2) == ({}, {})
    both = MergingConfig.model_validate_json('{"search": {"trials": 3}, "recipes": "paper"}')
    assert len(choose(both, 2)[0]) == 14
    with pytest.raises(ValidationError, match="name at least one, write `paper`, or add a `search`"):
        written([])


def test_an_infinite_scale_is_refused() -> None:
    with pytest.raises(ValidationError, match="finite"):
        TaskArithmetic(method="task_arithmetic", scale=float("inf"))


@pytest.mark.parametrize(
    ("recipe", "name"),
    [
        (Linear(method="linear"), "linear"),
        (TaskArithmetic(method="task_arithmetic"), "task-arithmetic-s1"),
        (TaskArithmetic(method="task_arithmetic", scale=0.75), "task-arithmetic-s0.75"),
        (SLERP, "slerp-t0.5"),
        (TIES, "ties-d0.3"),
        (Ties(method="ties", density=0.12345678), "ties-d0.12345678"),
        (DareLinear(method="dare_linear", density=1), "dare-linear-d1"),
        (DareTies(method="dare_ties", density=0.3, seed=7), "dare-ties-d0.3-seed7"),
    ],
)
def test_a_recipes_id_says_what_it_is(recipe, name: str) -> None:
    assert recipe_id(recipe) == name


def test_the_preset_is_table_12() -> None:
    chosen, left_out = choose(MergingConfig(), 2)
    assert list(chosen) == [
        "linear", "task-arithmetic-s1", "slerp-t0.3", "slerp-t0.5", "slerp-t0.7", "ties-d0.3", "ties-d0.5",
        "ties-d0.7", "dare-linear-d0.3", "dare-linear-d0.5", "dare-linear-d0.7", "dare-ties-d0.3", "dare-ties-d0.5",
        "dare-ties-d0.7",
    ]  # fmt: skip
    assert left_out == {}
    assert tuple(chosen.values()) == PAPER


def test_the_preset_leaves_slerp_out_for_three_memories_and_says_so() -> None:
    chosen, left_out = choose(MergingConfig(), 3)
    assert len(chosen) == 11
    assert not any(name.startswith("slerp") for name in chosen)
    assert left_out["slerp-t0.3"] == "slerp merges exactly 2 memories, this run has 3"
    assert len(left_out) == 3


@pytest.mark.parametrize(
    ("recipes", "memories", "message"),
    [
        ((TIES, SLERP), 3, r"slerp-t0\.5: slerp merges exactly 2 memories, this run has 3"),
        ((TIES, Ties(method="ties", density=0.3)), 2, r"ties-d0\.3 is listed twice"),
        ((TIES,), 1, "two or more memories, got 1"),
    ],
)
def test_recipes_that_cannot_be_tried_are_named(recipes, memories: int, message: str) -> None:
    with pytest.raises(MergeError, match=message):
        choose(MergingConfig(recipes=recipes), memories)


def test_a_method_to_search_that_takes_two_memories_is_refused_for_three() -> None:
    config = MergingConfig(search=SearchConfig(trials=3, methods=("slerp",)))
    with pytest.raises(MergeError, match=r"search\.methods: slerp merges exactly 2 memories, this run has 3; leave it"):
        choose(config, 3)
    assert choose(config, 2) == ({}, {})


def test_the_configuration_names_folders_so_that_mergekit_cannot_misread_them() -> None:
    paths = [Path("/tmp/a+b"), Path("/tmp/c@d")]
    config = mergekit_config(TIES, Path("/tmp/base"), paths, "bfloat16")
    assert config["base_model"] == {"model": {"path": "/tmp/base"}}
    assert [model["model"] for model in config["models"]] == [{"model": {"path": str(path)}} for path in paths]
    assert (config["dtype"], config["out_dtype"]) == ("float32", "bfloat16")


def test_parameters_are_what_the_sweep_table_shows() -> None:
    assert parameters(Linear(method="linear")) == {}
    assert parameters(DareTies(method="dare_ties", density=0.3)) == {"density": 0.3, "seed": 0}
