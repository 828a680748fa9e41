"""LoRA memories merged as adapters: their task vectors are the products of their low-rank factors.

A sum of such products is the product of the factors set side by side, so methods that sum task vectors give an adapter
again, whose rank is the sum of the ranks. In go folders with peft's adapters; out come task vectors and that adapter.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from memo_ray.errors import MergeError
from memo_ray.merging.headers import DTYPES, Tensor, read_header
from memo_ray.merging.weights import read

FOLDER = "adapter"
"""Where a memory's folder holds its adapter, and a merged one's."""
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",), "bias": ("none",), "use_rslora": (False, None), "use_dora": (False, None),
    "fan_in_fan_out": (False, None), "rank_pattern": ({}, None), "alpha_pattern": ({}, None),
    "modules_to_save": (None, []), "layer_replication": (None,), "lora_bias": (False, None),
    "trainable_token_indices": (None, [], {}), "target_parameters": (None, []),
}  # fmt: skip
"""What an adapter's config must say for its change to be (alpha / rank) B A, and nothing else."""


@dataclass(frozen=True)
class Adapter:
    """One memory's adapter. `pairs`: by name of the weight that it changes, the factors A and B."""

    folder: Path
    config: Mapping[str, Any]
    pairs: Mapping[str, tuple[Tensor, Tensor]]

    @property
    def scale(self) -> float:
        """alpha / rank (paper, Appendix O)."""
        return self.config["lora_alpha"] / self.config["r"]

    def factors(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """A (rank by inputs) and B (outputs by rank) in float32."""
        one, other = (read(tensor).float().view(tensor.shape) for tensor in self.pairs[name])
        return one, other

    def task_vector(self, name: str) -> torch.Tensor | None:
        """The change of the weight `name`, as one row in float32; None when it stays as it is."""
        if name not in self.pairs:
            return None
        down, up = self.factors(name)
        return (up @ down).mul_(self.scale).view(-1)


def read_adapters(base_tensors: Mapping[str, Tensor], memories: Mapping[str, Path]) -> list[Adapter]:
    """The adapters of all memories, in their order, from headers alone.

    Raises MergeError for a memory without one, or one that is more than low-rank factors that fit the base's shapes.
    """
    return [_read_adapter(folder / FOLDER, base_tensors) for folder in memories.values()]


def write_sum(adapters: Sequence[Adapter], weights: Sequence[float], folder: Path) -> None:
    """The adapter that changes weights by the weighted sum of what `adapters` do, exactly: their ranks side by side."""
    from safetensors.torch import save_file

    folder.mkdir()
    rank = sum(adapter.config["r"] for adapter in adapters)
    tensors: dict[str, torch.Tensor] = {}
    for name in sorted({name for adapter in adapters for name in adapter.pairs}):
        downs, ups = [], []
        for adapter, weight in zip(adapters, weights, strict=True):
            if name in adapter.pairs:
                down, up = adapter.factors(name)
                downs.append(down)
                ups.append(up * (weight * adapter.scale))
        # A memory that leaves this weight alone has nothing but zeros here.
        missing = rank - sum(down.shape[0] for down in downs)
        module = f"base_model.model.{name.removesuffix('.weight')}"
        tensors[f"{module}.lora_A.weight"] = torch.cat([*downs, torch.zeros(missing, downs[0].shape[1])])
        tensors[f"{module}.lora_B.weight"] = torch.cat([*ups, torch.zeros(ups[0].shape[0], missing)], dim=1)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    # What the configs name may be a pattern; what was merged is known by its names.
    targets = sorted({name.removesuffix(".weight") for adapter in adapters for name in adapter.pairs})
    config = dict(adapters[0].config) | {"r": rank, "lora_alpha": rank, "target_modules": targets}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _read_adapter(folder: Path, base_tensors: Mapping[str, Tensor]) -> Adapter:
    try:
        config = json.loads((folder / CONFIG).read_bytes())
        if not isinstance(config, dict):
            raise ValueError
    except (OSError, ValueError, RecursionError):
        raise MergeError(
            f"{folder}: holds no adapter that can be read; train with `training.lora`, or leave out merging.adapters"
        ) from None
    for key, allowed in PLAIN.items():
        if config.get(key, allowed[0]) not in allowed:
            raise MergeError(
                f"{folder / CONFIG}: {key} is {config[key]}, so that the adapter is no plain product of two factors; "
                "leave out merging.adapters, which merges the weights that it was folded into"
            )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if type(rank) is not int or rank < 1 or not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
        raise MergeError(
            f"{folder / CONFIG}: r must be a whole number of at least 1 and lora_alpha a number above 0, they are "
            f"{json.dumps(rank)} and {json.dumps(alpha)}; train the memory again, or leave out merging.adapters"
        )
    pairs: dict[str, dict[str, Tensor]] = {}
    for key, tensor in read_header(folder / WEIGHTS).items():
        module, _, factor = key.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".")
        pairs.setdefault(f"{module}.weight", {})[factor] = tensor
    for name, pair in pairs.items():
        weight, down, up = base_tensors.get(name), pair.get("lora_A"), pair.get("lora_B")
        if not (weight and down and up and _fit(weight, down, up, rank)):
            raise MergeError(
                f"{folder / WEIGHTS}: its factors for {name} do not fit the base, or are not of rank {rank}; "
                "merge memories of one base"
            )
    return Adapter(folder, config, {name: (pair["lora_A"], pair["lora_B"]) for name, pair in pairs.items()})


def _fit(weight: Tensor, down: Tensor, up: Tensor, rank: int) -> bool:
    if len(weight.shape) != 2 or not {down.dtype, up.dtype} <= DTYPES.keys():
        return False
    return (down.shape, up.shape) == ((rank, weight.shape[1]), (weight.shape[0], rank))
