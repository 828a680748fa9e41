"""The table of methods against the settings a user writes and the methods that mergekit has."""

from __future__ import annotations

from typing import get_args

import pytest

from memo_ray.config.merging import MergeRecipe
from memo_ray.merging.methods import METHODS
from memo_ray.merging.recipes import PAPER, mergekit_config, parameters

UNION, _ = get_args(MergeRecipe)


def test_every_recipe_that_can_be_written_has_its_method_and_no_other() -> None:
    assert {kind.model_fields["method"].annotation for kind in get_args(UNION)} == {
        method.settings.model_fields["method"].annotation for method in METHODS.values()
    }
    for name, method in METHODS.items():
        assert get_args(method.settings.model_fields["method"].annotation) == (name,)


def test_letters_are_for_parameters_that_exist() -> None:
    for method in METHODS.values():
        assert method.letters.keys() <= method.settings.model_fields.keys()


@pytest.mark.parametrize("name", METHODS)
def test_mergekit_knows_every_parameter_it_is_given(name: str, tmp_path) -> None:
    """mergekit ignores a parameter that it does not know, so a misspelt one would change nothing without a word."""
    from mergekit.merge_methods.base import ParameterScope
    from mergekit.merge_methods.registry import get

    recipe = next(recipe for recipe in PAPER if recipe.method == name)
    config = mergekit_config(recipe, tmp_path / "base", [tmp_path / "a", tmp_path / "b"], "bfloat16")
    known = {parameter.name: parameter for parameter in get(config["merge_method"]).spec.parameters}
    shared = {key for key, parameter in known.items() if parameter.scope == ParameterScope.SHARED}
    assert config["parameters"].keys() <= shared
    for model in config["models"]:
        assert model["parameters"].keys() <= known.keys() - shared


@pytest.mark.parametrize("recipe", PAPER, ids=lambda recipe: recipe.method)
def test_mergekit_is_given_what_its_own_defaults_get_wrong(recipe, tmp_path) -> None:
    config = mergekit_config(recipe, tmp_path, [tmp_path / "a", tmp_path / "b"], "bfloat16")
    assert config["merge_method"] not in ("linear", "slerp")  # both work on weights, not on task vectors
    if recipe.method.startswith("dare"):
        assert config["parameters"]["rescale"] is False
        assert config["parameters"]["lambda"] == 1 / parameters(recipe)["density"]
    if "normalize" in config["parameters"]:
        assert config["parameters"]["normalize"] is recipe.method.endswith("ties")
