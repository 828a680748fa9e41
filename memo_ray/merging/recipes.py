"""Merge recipes: their ids, the paper's fourteen, and the mergekit configuration of each.

In goes a MergingConfig and the number of memories; out come recipes by id, and for one recipe the dictionary that
mergekit's MergeConfiguration is read from. Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memo_ray.config.merging import (
    DareLinear,
    DareTies,
    Linear,
    MergeRecipe,
    MergingConfig,
    Slerp,
    TaskArithmetic,
    Ties,
)
from memo_ray.errors import MergeError
from memo_ray.merging.methods import METHODS

PAPER_VALUES = (0.3, 0.5, 0.7)
"""Table 12's densities, and its interpolation factors for SLERP."""

PAPER: tuple[MergeRecipe, ...] = (
    Linear(method="linear"),
    TaskArithmetic(method="task_arithmetic"),
    *(Slerp(method="slerp", t=t) for t in PAPER_VALUES),
    *(Ties(method="ties", density=density) for density in PAPER_VALUES),
    *(DareLinear(method="dare_linear", density=density) for density in PAPER_VALUES),
    *(DareTies(method="dare_ties", density=density) for density in PAPER_VALUES),
)
"""The 14 configurations of the paper's Table 12, in its order."""


def parameters(recipe: MergeRecipe) -> dict[str, Any]:
    """What a recipe sets besides its method, for example `{"density": 0.3}`."""
    return recipe.model_dump(exclude={"method"})


def recipe_id(recipe: MergeRecipe) -> str:
    """A stable name that is fit for a folder: `linear`, `ties-d0.3`, `dare-ties-d0.3-seed7` (seed 0 is left out)."""
    letters = METHODS[recipe.method].letters
    written = [
        f"{letters.get(name, name)}{_number(value)}"
        for name, value in parameters(recipe).items()
        if not (name == "seed" and value == 0)
    ]
    return "-".join([recipe.method.replace("_", "-"), *written])


def choose(config: MergingConfig, memories: int) -> tuple[dict[str, MergeRecipe], dict[str, str]]:
    """The recipes to try for `memories` memories by id, and by id why one of the paper's is left out.

    Raises MergeError for fewer than two memories, for a recipe listed twice, and for an explicit recipe, or a method
    to search, that takes another number of memories.
    """
    if memories < 2:
        raise MergeError(f"merging: needs two or more memories, got {memories}; name another corpus")
    for method in config.search.methods if config.search else ():
        if misfit_method(method, memories):
            raise MergeError(f"merging.search.methods: {misfit_method(method, memories)}; leave it out")
    if config.recipes != "paper":
        return named(config.recipes, memories), {}
    left_out = {recipe_id(recipe): misfit(recipe, memories) for recipe in PAPER}
    chosen = {recipe_id(recipe): recipe for recipe in PAPER if not misfit(recipe, memories)}
    return chosen, {name: why for name, why in left_out.items() if why}


def named(recipes: Sequence[MergeRecipe], memories: int) -> dict[str, MergeRecipe]:
    """`recipes` by id. Raises MergeError for one that is there twice or that takes another number of memories."""
    found: dict[str, MergeRecipe] = {}
    for recipe in recipes:
        name = recipe_id(recipe)
        if name in found:
            raise MergeError(f"merging.recipes: {name} is listed twice; remove one of the two")
        if misfit(recipe, memories):
            raise MergeError(
                f"merging.recipes: {name}: {misfit(recipe, memories)}; remove the recipe or use another method"
            )
        found[name] = recipe
    return found


def misfit(recipe: MergeRecipe, memories: int) -> str:
    """Why `recipe` cannot merge so many memories; empty when it can."""
    return misfit_method(recipe.method, memories)


def misfit_method(method: str, memories: int) -> str:
    """Why `method` cannot merge so many memories; empty when it can."""
    exactly = METHODS[method].memories
    if exactly in (None, memories):
        return ""
    return f"{method} merges exactly {exactly} memories, this run has {memories}"


def mergekit_config(recipe: MergeRecipe, base: Path, memories: Sequence[Path], dtype: str) -> dict[str, Any]:
    """The mergekit configuration of `recipe`: float32 arithmetic, weights written as `dtype`.

    Paths are given as `{"path": ...}`, since mergekit reads a `+` in a plain string as an adapter and an `@` as a
    revision. Raises MergeError when the method takes another number of memories.
    """
    method = METHODS[recipe.method]
    density = {"density": recipe.density} if isinstance(recipe, Ties | DareLinear | DareTies) else {}
    return {
        "merge_method": method.mergekit,
        "base_model": {"model": {"path": str(base)}},
        "models": [
            {"model": {"model": {"path": str(memory)}}, "parameters": {"weight": weight, **density}}
            for memory, weight in zip(memories, method.weights(recipe, len(memories)), strict=True)
        ],
        "parameters": method.shared(recipe),
        "dtype": "float32",
        "out_dtype": dtype,
    }


def _number(value: float) -> str:
    """The shortest decimal that reads back as `value`: 0.3, 1, 7."""
    short = f"{value:g}"
    return short if float(short) == value else repr(value)
