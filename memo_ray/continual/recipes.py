"""Which merge is made again when a run's memories change: the one that was best, one that is named, or all."""

from __future__ import annotations

import json
from typing import Any

import yaml
from pydantic import ValidationError

from memo_ray.artifacts.store import Artifact
from memo_ray.config.loading import explain
from memo_ray.config.merging import MergingConfig
from memo_ray.errors import ConfigError
from memo_ray.merging.methods import METHODS
from memo_ray.merging.recipes import misfit_method
from memo_ray.rows import SweepRow

ALONE = {"search": None, "advise": False, "compare": []}
"""What belongs to a sweep: retraining on the union at every new corpus is what merging is there to spare."""


def merging_for(
    config: MergingConfig | None,
    merged: Artifact | None,
    memories: int,
    recipe: str | None = None,
    *,
    sweep: bool = False,
) -> dict[str, Any] | None:
    """The section `merging` for `memories` memories, as plain data; None for a single one.

    `recipe`, as `{method: ties, density: 0.5}` or a bare method, counts first, then `sweep` (all of the paper's), then
    the best of the finished merging `merged` that takes so many memories. With one recipe nothing is searched, advised
    or compared any more. With none of these the section stays as it is if its methods take so many memories; a first
    merge is chosen by a sweep. Raises ConfigError for a recipe that cannot be read.
    """
    if memories < 2:
        return None
    config = config or MergingConfig()
    section = config.model_dump(mode="json")
    best = best_recipe(merged, memories) if merged is not None else None
    chosen = read_recipe(recipe) if recipe is not None else None if sweep else best
    if chosen is not None:
        return section | {"recipes": [chosen]} | ALONE
    if sweep or not fits(config, memories):
        return section | {"recipes": "paper", "search": None}
    return section


def fits(config: MergingConfig, memories: int) -> bool:
    """Whether all methods that the section names take so many memories."""
    named = {recipe.method for recipe in config.recipes} if config.recipes != "paper" else set[str]()
    named |= set(config.search.methods) if config.search else set()
    return not any(misfit_method(method, memories) for method in named)


def best_recipe(merged: Artifact, memories: int) -> dict[str, Any] | None:
    """The recipe with the best recall in a finished sweep, of those that merge `memories` memories."""
    rows = [row for row in merged.rows("sweep", SweepRow) if METHODS[row.method].memories in (None, memories)]
    if not rows:
        return None
    known = [row for row in rows if row.recipe_id == merged.record.facts["best"]]
    row = known[0] if known else max(rows, key=lambda row: (row.recall, row.token_f1))
    return {"method": row.method, **json.loads(row.parameters)}


def read_recipe(text: str) -> Any:
    """A recipe from the command line. Raises ConfigError for what is none."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--recipe {text}: write it as '{{method: ties, density: 0.5}}'") from None
    value = {"method": value} if isinstance(value, str) else value
    try:
        MergingConfig.model_validate_json(json.dumps({"recipes": [value]}))
    except (ValidationError, TypeError) as error:
        found = error.errors(include_url=False) if isinstance(error, ValidationError) else []
        if not found:
            raise ConfigError(f"--recipe {text}: is no recipe") from None
        # The keys that are known are those at this place of a run's settings.
        raise ConfigError(explain(found[0] | {"loc": ("merging", *found[0]["loc"])}, "--recipe")) from None
    return value
