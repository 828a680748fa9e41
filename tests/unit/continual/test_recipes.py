import json
from pathlib import Path

import pytest

from memo_ray.artifacts.store import Artifact, Store
from memo_ray.config.merging import Linear, MergingConfig, SearchConfig, Slerp
from memo_ray.continual.recipes import best_recipe, merging_for, read_recipe
from memo_ray.errors import ConfigError
from memo_ray.rows import SweepRow

CONFIG = MergingConfig(
    recipes=(Linear(method="linear"), Slerp(method="slerp", t=0.5)),
    keep=2, search=SearchConfig(trials=5), advise=True, compare=("union",),
)  # fmt: skip


@pytest.fixture
def merged(tmp_path: Path) -> Artifact:
    """A sweep of two memories that SLERP won, TIES before linear."""
    found = (("linear", {}, 0.3), ("slerp", {"t": 0.5}, 0.9), ("ties", {"density": 0.5}, 0.6))
    rows = [SweepRow(m, m, json.dumps(p), recall, "{}", recall, 1, 1, False) for m, p, recall in found]
    store = Store(tmp_path)
    with store.attempt("merging", "merging", "1" * 64, {}, {}) as attempt:
        attempt.write("sweep", rows, SweepRow)
        attempt.facts["best"] = "slerp"
    artifact = store.find("merging", "1" * 64)
    assert artifact is not None
    return artifact


def test_the_best_recipe_is_one_that_takes_so_many_memories(merged: Artifact) -> None:
    assert best_recipe(merged, 2) == {"method": "slerp", "t": 0.5}
    assert best_recipe(merged, 3) == {"method": "ties", "density": 0.5}


def test_which_merge_is_made_again(merged: Artifact) -> None:
    assert merging_for(CONFIG, merged, 1) is None
    kept = merging_for(CONFIG, merged, 3)
    assert kept is not None and (kept["recipes"], kept["keep"]) == ([{"method": "ties", "density": 0.5}], 2)
    named = merging_for(CONFIG, merged, 3, "{method: ties, density: 0.7}", sweep=True)
    assert named is not None and named["recipes"] == [{"method": "ties", "density": 0.7}]
    swept = merging_for(CONFIG, merged, 3, sweep=True)
    assert swept is not None and swept["recipes"] == "paper"
    first = merging_for(None, None, 2)
    assert first is not None and first["recipes"] == "paper"
    same = merging_for(CONFIG, None, 2)
    assert same is not None and same["recipes"] == [{"method": "linear"}, {"method": "slerp", "t": 0.5}]


def test_one_recipe_is_not_searched_beside_nor_compared_again(merged: Artifact) -> None:
    kept = merging_for(CONFIG, merged, 3)
    assert kept is not None and (kept["search"], kept["advise"], kept["compare"]) == (None, False, [])
    swept = merging_for(CONFIG, merged, 3, sweep=True)
    assert swept is not None and (swept["search"], swept["advise"], swept["compare"]) == (None, True, ["union"])


def test_without_a_best_a_section_that_cannot_merge_so_many_becomes_the_papers() -> None:
    for changed in ({}, {"recipes": (), "search": SearchConfig(trials=5, methods=("slerp",))}):
        section = merging_for(CONFIG.model_copy(update=changed), None, 3)
        assert section is not None and (section["recipes"], section["search"]) == ("paper", None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{method: ties, density: 5}", "--recipe: merging.recipes.0.density: Input should be less than or equal to 1"),
        ("{method: slerp, t: 0.5, x: 1}", "x: unknown key; known keys: density, method, scale, seed, t"),
        ("{method: slerp, density: 0.5}", "--recipe: merging.recipes.0.t: is required"),
        ("[", "write it as"),
    ],
)
def test_a_recipe_that_is_none_is_told_by_its_own_keys(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_recipe(text)
    assert told in str(error.value) and "\n" not in str(error.value)
