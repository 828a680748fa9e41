"""What Optuna suggests: recipes that can be merged, towards better scores, the same ones for the same scores."""

from __future__ import annotations

from collections.abc import Callable

from memo_ray.config.merging import Linear, MergeRecipe, SearchConfig, Ties
from memo_ray.merging.ray_search import Suggestions

LISTED: dict[str, MergeRecipe] = {"linear": Linear(method="linear"), "ties-d0.5": Ties(method="ties", density=0.5)}


def search(config: SearchConfig, score: Callable[[MergeRecipe], float], memories: int = 2) -> list[list[MergeRecipe]]:
    suggestions = Suggestions(config, memories, LISTED)
    scores = {name: score(recipe) for name, recipe in LISTED.items()}
    groups = []
    while group := suggestions.next(scores):
        assert not group.keys() & scores.keys()
        groups.append(list(group.values()))
        scores |= {name: score(recipe) for name, recipe in group.items()}
    return groups


def sparse_is_better(recipe: MergeRecipe) -> float:
    return 1 - recipe.density if isinstance(recipe, Ties) else 0.0


def test_as_many_as_wanted_in_groups_and_the_same_again() -> None:
    config = SearchConfig(trials=10, at_once=4, seed=5)
    groups = search(config, sparse_is_better)
    assert [len(group) for group in groups] == [4, 4, 2]
    assert groups == search(config, sparse_is_better)
    assert groups != search(config.model_copy(update={"seed": 6}), sparse_is_better)


def test_scores_lead_to_better_ones() -> None:
    config = SearchConfig(trials=40, at_once=4, methods=("ties",), seed=0)
    found = [sparse_is_better(recipe) for group in search(config, sparse_is_better) for recipe in group]
    blind = [sparse_is_better(recipe) for group in search(config, lambda recipe: 0.0) for recipe in group]
    assert sum(found[20:]) / 20 > sum(blind[20:]) / 20 + 0.1


def test_a_method_that_takes_two_memories_is_not_suggested_for_three() -> None:
    methods = {recipe.method for group in search(SearchConfig(trials=30), sparse_is_better, 3) for recipe in group}
    assert "slerp" not in methods and len(methods) > 2


def test_a_space_that_is_used_up_ends_the_search() -> None:
    assert search(SearchConfig(trials=5, methods=("linear",)), lambda recipe: 0.5) == []
