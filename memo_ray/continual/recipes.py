"""Which merge is made again when a run's memories change: the one that was best, one that is named, or all."""

from __future__ import annotations

import json
from typing import Any

import yaml

from memo_ray.artifacts.store import Artifact
from memo_ray.config.merging import MergingConfig
from memo_ray.errors import ConfigError
from memo_ray.merging.methods import METHODS
from memo_ray.rows import SweepRow


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
    the best of the finished merging `merged` that takes so many memories. With none of these the section stays as it
    is; a first merge is chosen by a sweep. Raises ConfigError for a recipe that cannot be read.
    """
    if memories < 2:
        return None
    section = (config or MergingConfig()).model_dump(mode="json")
    if recipe is not None:
        return section | {"recipes": [read_recipe(recipe)]}
    if sweep:
        return section | {"recipes": "paper"}
    best = best_recipe(merged, memories) if merged is not None else None
    return section | {"recipes": [best]} if best else section


def best_recipe(merged: Artifact, memories: int) -> dict[str, Any] | None:
    """The recipe with the best recall in a finished sweep, of those that merge `memories` memories."""
    rows = [row for row in merged.rows("sweep", SweepRow) if METHODS[row.method].memories in (None, memories)]
    if not rows:
        return None
    known = [row for row in rows if row.recipe_id == merged.record.facts["best"]]
    row = known[0] if known else max(rows, key=lambda row: (row.recall, row.token_f1))
    return {"method": row.method, **json.loads(row.parameters)}


def read_recipe(text: str) -> Any:
    """A recipe from the command line; its keys are checked with the rest of the config."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"--recipe {text}: write it as '{{method: ties, density: 0.5}}'") from None
    return {"method": value} if isinstance(value, str) else value
