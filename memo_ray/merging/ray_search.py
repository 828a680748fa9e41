"""Recipes suggested by Ray Tune's Optuna search from the scores of earlier ones.

In go a search's settings and scores as they come; out come groups of recipes by id. Nothing is stored: suggestions
follow from the seed and the scores alone, so a sweep that goes on asks for the same ones and finds them scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from ray.tune.search.optuna import OptunaSearch

from memo_ray.config.merging import MergeRecipe, SearchConfig
from memo_ray.merging.methods import METHODS
from memo_ray.merging.recipes import misfit_method, parameters, recipe_id

SCORE = "recall"
PATIENCE = 20
"""Suggestions for each wanted recipe at most: a space of few recipes may hold no further one, and the search ends."""


class Suggestions:
    """The search of one sweep; `listed` are the recipes tried before it, from which it learns too."""

    def __init__(self, config: SearchConfig, memories: int, listed: Mapping[str, MergeRecipe]) -> None:
        self._config = config
        self._methods = methods_for(config, memories)
        known = [recipe for recipe in listed.values() if recipe.method in self._methods]
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna = OptunaSearch(
            self._space,
            metric=SCORE,
            mode="max",
            points_to_evaluate=[_point(recipe) for recipe in known],
            # Suggestions of a group keep away from each other, though none has a score yet.
            sampler=optuna.samplers.TPESampler(seed=config.seed, constant_liar=True),
        )
        for recipe in known:
            self._optuna.suggest(recipe_id(recipe))
        self._groups = [[recipe_id(recipe) for recipe in known]]
        self._tried = set(listed)
        self._trials: dict[str, str] = {}
        self._told: dict[str, float] = {}

    def next(self, scores: Mapping[str, float]) -> dict[str, MergeRecipe]:
        """The next group; empty at the end. `scores` must hold every group's but the last, which is not looked at."""
        for name in (name for group in self._groups[:-1] for name in group if name not in self._told):
            self._told[name] = scores[name]
            self._optuna.on_trial_complete(self._trials.get(name, name), {SCORE: scores[name]})
        size = min(self._config.at_once, self._config.trials - sum(map(len, self._groups[1:])))
        group: dict[str, MergeRecipe] = {}
        for again in range(PATIENCE * size):
            if len(group) == size:
                break
            trial = f"{len(self._groups)}-{again}"
            recipe = _recipe(self._optuna.suggest(trial) or {})
            name = recipe_id(recipe)
            if name not in self._tried:
                self._trials[name] = trial
                self._tried.add(name)
                group[name] = recipe
            else:
                score = self._told.get(name)
                self._optuna.on_trial_complete(trial, None if score is None else {SCORE: score})
        self._groups.append(list(group))
        return group

    def _space(self, trial: Any) -> dict[str, Any]:
        """What Optuna asks for: a method, then that method's parameters under names of their own."""
        name = trial.suggest_categorical("method", self._methods)
        for parameter, (low, high) in METHODS[name].ranges.items():
            trial.suggest_float(f"{name} {parameter}", low, high)
        return {}


def methods_for(config: SearchConfig, memories: int) -> list[str]:
    """The methods to choose from that merge so many memories, in the table's order."""
    return [name for name in METHODS if name in (config.methods or METHODS) and not misfit_method(name, memories)]


def _point(recipe: MergeRecipe) -> dict[str, Any]:
    values = parameters(recipe)
    ranges = METHODS[recipe.method].ranges
    return {"method": recipe.method} | {f"{recipe.method} {name}": values[name] for name in ranges}


def _recipe(suggested: Mapping[str, Any]) -> MergeRecipe:
    name = suggested["method"]
    # Two decimals: more would tell recipes apart whose merges are all but the same.
    values = {parameter: round(suggested[f"{name} {parameter}"], 2) for parameter in METHODS[name].ranges}
    return METHODS[name].settings.model_validate({"method": name} | values)  # type: ignore[return-value]
