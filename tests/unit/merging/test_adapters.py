"""LoRA memories: their adapters summed exactly, beside merges of what they were folded into."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memo_ray.config.merging import Linear, MergeRecipe, TaskArithmetic, Ties
from memo_ray.config.training import LoraConfig
from memo_ray.errors import MergeError
from memo_ray.merging.checks import check
from memo_ray.merging.merge import MergeJob, merge
from memo_ray.merging.recipes import recipe_id
from tests.unit.merging.equations import ties
from tests.unit.merging.tiny import TOKENIZER, Weights, make_base, read

SHAPES = {"a": LoraConfig(rank=2, alpha=4.0), "b": LoraConfig(rank=3, alpha=2.0, targets=("q_proj", "down_proj"))}
"""Adapters of different ranks, scales and targets."""


def make_lora_memory(base: Path, folder: Path, lora: LoraConfig, seed: int) -> Path:
    """A memory as training leaves it: adapters folded into the base, and the adapters in a subfolder."""
    import shutil

    import torch
    from transformers import AutoModelForCausalLM

    from memo_ray.training.lora import FOLDER, adapt, adapter_state, folded_state, is_adapter, save_adapter

    model = adapt(AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16), lora, base="tiny")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if is_adapter(name):
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    plain.load_state_dict(dict(folded_state(model)))
    plain.save_pretrained(folder)
    for name in TOKENIZER:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    save_adapter(model, folder / FOLDER, adapter_state(model))
    return folder


@pytest.fixture
def made(tiny_model: Path, tmp_path: Path) -> tuple[Path, dict[str, Path]]:
    base = make_base(tiny_model, tmp_path / "base")
    memories = {
        name: make_lora_memory(base, tmp_path / name, lora, seed) for seed, (name, lora) in enumerate(SHAPES.items())
    }
    return base, memories


def changes(memories: dict[str, Path], weights: dict[str, float]) -> dict[str, np.ndarray]:
    """The weighted sum of (alpha / rank) B A by the weight's name."""
    from safetensors.torch import load_file

    total: dict[str, np.ndarray] = {}
    for name, folder in memories.items():
        scale = weights[name] * SHAPES[name].alpha / SHAPES[name].rank
        factors = {
            key: value.double().numpy()
            for key, value in load_file(folder / "adapter" / "adapter_model.safetensors").items()
        }
        for key in [key for key in factors if ".lora_A." in key]:
            weight = key.removeprefix("base_model.model.").replace(".lora_A", "")
            product = factors[key.replace("lora_A", "lora_B")] @ factors[key]
            total[weight] = total.get(weight, 0) + scale * product
    return total


def last_places(got: Weights, wanted: Weights) -> float:
    """The largest distance in units of the last place of a bfloat16."""
    place = {
        name: 2.0 ** (np.floor(np.log2(np.maximum(np.abs(value), 2.0**-16))) - 7) for name, value in wanted.items()
    }
    return max(float(np.max(np.abs(got[name] - wanted[name]) / place[name])) for name in wanted)


@pytest.mark.parametrize(
    ("recipe", "weight"),
    [(Linear(method="linear"), 0.5), (TaskArithmetic(method="task_arithmetic", scale=0.7), 0.7)],
    ids=lambda value: getattr(value, "method", ""),
)
def test_adapters_are_summed_exactly_and_the_merged_adapter_is_the_merged_model(
    recipe: MergeRecipe, weight: float, made, tmp_path: Path
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base, memories = made
    merge(MergeJob(recipes=(recipe,), base=base, memories=memories, adapters=True, threads=1), tmp_path / "out")
    out = tmp_path / "out" / recipe_id(recipe)
    summed = changes(memories, dict.fromkeys(memories, weight))
    wanted = {name: value + summed.get(name, 0) for name, value in read(base).items()}
    # Half a unit: rounded once, at the end.
    assert last_places(read(out), wanted) <= 0.51

    config = json.loads((out / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"]) == (5, 5)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(plain, str(out / "adapter")).merge_and_unload()
    exact = {name: value.detach().numpy() for name, value in adapted.state_dict().items() if name in wanted}
    assert max(float(np.abs(exact[name] - wanted[name]).max()) for name in wanted) < 1e-6


def test_other_methods_merge_what_the_adapters_were_folded_into(made, tmp_path: Path) -> None:
    base, memories = made
    recipe = Ties(method="ties", density=1.0)
    recipes = (Linear(method="linear"), recipe)
    merge(MergeJob(recipes=recipes, base=base, memories=memories, adapters=True, threads=1), tmp_path / "out")
    assert not (tmp_path / "out" / "ties-d1" / "adapter").exists()
    before, name = read(base), "model.layers.0.self_attn.q_proj.weight"
    taus = [read(folder)[name].astype(np.float64) - before[name] for folder in memories.values()]
    wanted = {name: before[name] + ties(taus, 1.0)}
    assert last_places(read(tmp_path / "out" / "ties-d1"), wanted) <= 1


def test_the_merged_adapters_targets_are_what_was_merged(made, tmp_path: Path) -> None:
    base, memories = made
    rewritten(target_modules=".*(q|v)_proj")(memories["a"] / "adapter")
    job = MergeJob(recipes=(Linear(method="linear"),), base=base, memories=memories, adapters=True, threads=1)
    merge(job, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "linear" / "adapter" / "adapter_config.json").read_text())
    assert "model.layers.0.self_attn.q_proj" in config["target_modules"]
    assert all(target.startswith("model.layers.") for target in config["target_modules"])


def no_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").unlink()


def rewritten(**changed: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | changed))

    return spoil


def other_shape(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "adapter_model.safetensors"
    save_file({key: value[:, :1].clone() for key, value in load_file(file).items()}, file)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_adapter, r"/b/adapter: holds no adapter that can be read; train with `training\.lora`"),
        (rewritten(use_dora=True), "use_dora is True, so that the adapter is no plain product"),
        (other_shape, "do not fit the base"),
        (rewritten(r=1), "are not of rank 1"),
        (rewritten(r=0), "r must be a whole number of at least 1 .* they are 0 and"),
        (rewritten(r=None), "they are null and"),
        (rewritten(lora_alpha="4"), 'and "4"; train the memory again'),
        (rewritten(lora_bias=True), "lora_bias is True"),
        (rewritten(trainable_token_indices=[1]), r"trainable_token_indices is \[1\]"),
        (rewritten(target_parameters=["x"]), "target_parameters is"),
    ],
)
def test_adapters_that_cannot_be_summed_are_refused_from_their_headers(
    spoil: Callable[[Path], None], message: str, made
) -> None:
    base, memories = made
    spoil(memories["b"] / "adapter")
    assert check(base, memories).adapters == []  # their folded weights can be merged all the same
    with pytest.raises(MergeError, match=message):
        check(base, memories, adapters=True)
