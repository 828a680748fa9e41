"""The six merging methods of the paper's Appendix H as one table: what each computes, and by which mergekit method.

Every method works on task vectors tau_i = phi_i - phi_0 against the common base phi_0, tensor by tensor. In goes a
recipe of `memo_ray.config.merging`; out come mergekit's parameters. docs/merging.md says why each mapping was chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from memo_ray.config import merging as config


@dataclass(frozen=True)
class Method:
    """One method. The recipe's settings class holds its parameters and their ranges.

    `weights` and `shared` make mergekit's parameters from a recipe: one weight a memory (given how many there are),
    and what holds for the whole merge. Every parameter of mergekit's is written out where its default would differ.
    """

    settings: type[config.Settings]
    equation: str
    mergekit: str
    weights: Callable[[Any, int], list[float]]
    shared: Callable[[Any], dict[str, Any]] = lambda recipe: {}
    sparsity: Callable[[Any], tuple[float, int | None] | None] = lambda recipe: None
    """Which entries of task vectors stay: a density, and DARE's seed or None for TIES' largest; None: all entries."""
    by_entry: bool = True
    """Once sparsified, an entry of the result depends on no other entries than those at its place."""
    sums: bool = False
    """A weighted sum of task vectors: low-rank ones give a low-rank one."""
    memories: int | None = None
    """Exactly so many memories; None: two or more."""
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Between which values a search chooses each parameter; a parameter without a range keeps its default."""
    letters: dict[str, str] = field(default_factory=dict)
    """How a parameter is written in a recipe's id; parameters without a letter are named in full."""

    def whole(self, recipe: Any) -> bool:
        """Whether tensors are needed as a whole, and not only a stretch at a time."""
        sparsity = self.sparsity(recipe)
        return not self.by_entry or (sparsity is not None and sparsity[1] is None)


def _mean(recipe: Any, memories: int) -> list[float]:
    return [1 / memories] * memories


def _ones(recipe: Any, memories: int) -> list[float]:
    return [1.0] * memories


def _trimmed(recipe: Any) -> tuple[float, int | None] | None:
    return (recipe.density, None) if recipe.density < 1 else None


def _dropped(recipe: Any) -> tuple[float, int | None] | None:
    return (recipe.density, recipe.seed) if recipe.density < 1 else None


# mergekit's own rescale is a ratio of L1 norms, so DARE's 1/density is given as the factor of the merged task vector:
# every memory has the same density, and neither a sum, a mean nor a sign changes by multiplying earlier or later.
METHODS: dict[str, Method] = {
    "linear": Method(
        settings=config.Linear,
        equation="phi_0 + sum_i tau_i / K",
        mergekit="task_arithmetic",
        weights=_mean,
        shared=lambda recipe: {"normalize": False, "lambda": 1.0},
        sums=True,
    ),
    "task_arithmetic": Method(
        settings=config.TaskArithmetic,
        equation="phi_0 + scale * sum_i tau_i",
        mergekit="task_arithmetic",
        weights=lambda recipe, memories: [recipe.scale] * memories,
        shared=lambda recipe: {"normalize": False, "lambda": 1.0},
        sums=True,
        ranges={"scale": (0.1, 2.0)},
        letters={"scale": "s"},
    ),
    "slerp": Method(
        settings=config.Slerp,
        equation="phi_0 + (sin((1 - t) theta) tau_1 + sin(t theta) tau_2) / sin(theta)",
        mergekit="nuslerp",
        weights=lambda recipe, memories: [1 - recipe.t, recipe.t],
        shared=lambda recipe: {"nuslerp_flatten": True, "nuslerp_row_wise": False},
        by_entry=False,
        memories=2,
        ranges={"t": (0.0, 1.0)},
        letters={"t": "t"},
    ),
    "ties": Method(
        settings=config.Ties,
        equation="phi_0 + mean over {i: sign_i = elected} of trim(tau_i, density)",
        mergekit="ties",
        weights=_ones,
        shared=lambda recipe: {"normalize": True, "rescale": False, "lambda": 1.0},
        sparsity=_trimmed,
        ranges={"density": (0.05, 1.0)},
        letters={"density": "d"},
    ),
    "dare_linear": Method(
        settings=config.DareLinear,
        equation="phi_0 + sum_i mask_i * tau_i / (K * density)",
        mergekit="dare_linear",
        weights=_mean,
        shared=lambda recipe: {"normalize": False, "rescale": False, "lambda": 1 / recipe.density},
        sparsity=_dropped,
        ranges={"density": (0.05, 1.0)},
        letters={"density": "d"},
    ),
    "dare_ties": Method(
        settings=config.DareTies,
        equation="phi_0 + mean over {i: sign_i = elected} of mask_i * tau_i / density",
        mergekit="dare_ties",
        weights=_ones,
        shared=lambda recipe: {"normalize": True, "rescale": False, "lambda": 1 / recipe.density},
        sparsity=_dropped,
        ranges={"density": (0.05, 1.0)},
        letters={"density": "d"},
    ),
}
