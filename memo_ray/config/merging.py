"""Which merges of the corpora's memories are tried."""

from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from memo_ray.config.base import Settings

Density = Annotated[float, Field(ge=0.01, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Linear(Settings):
    """Weighted sum of task vectors with weight 1/K (paper, Appendix H)."""

    method: Literal["linear"]


class TaskArithmetic(Settings):
    """Sum of task vectors, each with weight `scale`."""

    method: Literal["task_arithmetic"]
    scale: float = Field(default=1.0, gt=0, le=10)


class Slerp(Settings):
    """Spherical interpolation of exactly two task vectors: `t` 0 is the first, 1 the second."""

    method: Literal["slerp"]
    t: float = Field(ge=0, le=1)


class Ties(Settings):
    """Trim each task vector to its `density` largest entries, elect signs, average what agrees."""

    method: Literal["ties"]
    density: Density


class DareLinear(Settings):
    """Keep a random `density` of each task vector's entries, rescaled by 1/density, then average."""

    method: Literal["dare_linear"]
    density: Density
    seed: Seed = 0


class DareTies(Settings):
    """DARE's random sparsification, then TIES' sign election."""

    method: Literal["dare_ties"]
    density: Density
    seed: Seed = 0


MergeRecipe = Annotated[Linear | TaskArithmetic | Slerp | Ties | DareLinear | DareTies, Field(discriminator="method")]


Method = Literal["linear", "task_arithmetic", "slerp", "ties", "dare_linear", "dare_ties"]


def spread(value: Any) -> Any:
    """A list of recipes with every grid written out: a parameter with a list of values stands for one recipe each.

    `{"method": "ties", "density": [0.1, 0.3]}` becomes two; several lists become all their combinations.
    """
    if not isinstance(value, list | tuple):
        return value
    recipes: list[Any] = []
    for item in value:
        if not isinstance(item, dict):
            recipes.append(item)
            continue
        choices = [values if isinstance(values, list | tuple) else [values] for values in item.values()]
        recipes += [dict(zip(item, chosen, strict=True)) for chosen in product(*choices)]
    return tuple(recipes)


def kind_of_recipes(value: Any) -> str:
    """Which of the two forms of `recipes` a value is meant as, so that an error names only that one."""
    return "paper" if isinstance(value, str) else "list"


Recipes = Annotated[
    Annotated[tuple[MergeRecipe, ...], BeforeValidator(spread), Tag("list")]
    | Annotated[Literal["paper"], Tag("paper")],
    Discriminator(kind_of_recipes),
]


class SearchConfig(Settings):
    """Recipes that Optuna suggests, each group of them from the recall of those before."""

    trials: int = Field(ge=1, le=1000)
    """Recipes suggested in all, beside those of `recipes`."""
    methods: tuple[Method, ...] = Field(default=(), max_length=6)
    """What to choose from; none: every method that takes as many memories as the run has."""
    seed: Seed = 0
    at_once: int = Field(default=4, ge=1)
    """Recipes suggested together and merged in one pass. They know the scores of all groups but the last, which is
    being scored while they are merged: fewer are better informed, more are faster."""


class MergingConfig(Settings):
    """The sweep over merges; only for a run of two or more corpora."""

    search: SearchConfig | None = None
    """Recipes found by Optuna."""
    recipes: Recipes = Field(default_factory=lambda known: () if known.get("search") else "paper")
    """A list of merges (a list as a parameter's value is a grid), or `paper`: the 14 configurations of Table 12 (SLERP
    only with two corpora). By default `paper`, or none beside a `search`."""
    adapters: bool = False
    """For LoRA memories: `linear` and `task_arithmetic` merge the adapters themselves, exactly, and write the merged
    adapter beside the weights; all other methods, and all without this, merge the weights they were folded into."""
    recipes_per_pass: int | None = Field(default=None, ge=1)
    """Recipes merged in one reading of the memories, whose weights wait on disk for their scores; a pass that is killed
    is made again. None: all that the disk holds, or a quarter of them when passes overlap with scoring."""
    overlap: bool | None = None
    """Whether the next merges are made while the engine scores. None: only where the cluster has a GPU; without one
    they would take the engine's cores."""
    threads: int = Field(default=0, ge=0)
    """Threads of one pass; 0: as many as its machine has cores."""
    max_concurrent: int = Field(default=1, ge=1)
    """Passes made at once, for a cluster of several machines; each needs memory for its largest tensors."""
    keep: int = Field(default=1, ge=1)
    """How many of the best merged memories are kept on disk after scoring."""

    @model_validator(mode="after")
    def something_to_try(self) -> Self:
        """Refuse an empty sweep."""
        if not self.recipes and self.search is None:
            raise ValueError("recipes: name at least one, write `paper`, or add a `search`")
        return self

    advise: bool = False
    """First predict from the weights and a small probe whether to merge, retrain or route (`memo advise`)."""
    probe_questions: int = Field(default=12, ge=1)
    """Held-out questions of each corpus that the adviser's probe asks, evenly spread."""
    compare: tuple[Literal["union", "routing"], ...] = ()
    """Also measure a memory retrained on the union of all corpora, and routing between the memories."""

    @property
    def union(self) -> bool:
        """Whether a memory is trained on all corpora together."""
        return "union" in self.compare
