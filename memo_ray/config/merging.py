"""Which merges of the corpora's memories are tried."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from memo_ray.config.base import Settings

Density = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Linear(Settings):
    """Weighted sum of task vectors with weight 1/K (paper, Appendix H)."""

    method: Literal["linear"]


class TaskArithmetic(Settings):
    """Sum of task vectors, each with weight `scale`."""

    method: Literal["task_arithmetic"]
    scale: float = Field(default=1.0, gt=0, allow_inf_nan=False)


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


def kind_of_recipes(value: Any) -> str:
    """Which of the two forms of `recipes` a value is meant as, so that an error names only that one."""
    return "paper" if isinstance(value, str) else "list"


Recipes = Annotated[
    Annotated[tuple[MergeRecipe, ...], Field(min_length=1), Tag("list")] | Annotated[Literal["paper"], Tag("paper")],
    Discriminator(kind_of_recipes),
]


class MergingConfig(Settings):
    """The sweep over merges; only for a run of two or more corpora."""

    recipes: Recipes = "paper"
    """A list of merges, or `paper`: the 14 configurations of Table 12 (SLERP only with two corpora)."""
    max_concurrent: int = Field(default=1, ge=1)
    """Merges made at once; each needs memory for its largest tensors and disk for one model."""
    keep: int = Field(default=1, ge=1)
    """How many of the best merged memories are kept on disk after scoring."""
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
