"""Low-rank adapters by peft: where they go, how many parameters that trains, and how they are saved and folded.

Adapters are injected into the model itself, so its class and names stay (paper, Appendix O, Tables 18 and 19).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from memo_ray.config.presets import LLAMA_TARGETS, LORA_TARGETS
from memo_ray.config.training import LoraConfig
from memo_ray.errors import TrainingError

ADAPTER = "default"
FOLDER = "adapter"
"""Subfolder of an epoch's model folder with the adapters alone, in peft's own format."""
WEIGHTS = "adapter_model.safetensors"


def adapt(model: Any, lora: LoraConfig, seed: int = 0, base: str = "") -> Any:
    """`model` with frozen weights and fresh adapters, the same for the same `seed`; changed in place and returned.

    `base`: the name that an adapter's own config gives its base model. Raises TrainingError for a target that no
    linear layer bears.
    """
    from peft import LoraConfig as Peft
    from peft import inject_adapter_in_model

    targets = targets_of(model, lora.targets)
    config = Peft(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # a fraction is as good
        lora_dropout=lora.dropout,
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
    )
    meta = next(model.parameters()).is_meta
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        # Peft holds the adapters of a bf16 model in fp32; here the optimiser has the fp32 copy of what is trained.
        dtype = next(model.parameters()).dtype
        model = inject_adapter_in_model(config, model, adapter_name=ADAPTER, low_cpu_mem_usage=meta)
    for name, parameter in model.named_parameters():
        if is_adapter(name):
            parameter.data = parameter.data.to(dtype)
    return model


def targets_of(model: Any, wanted: tuple[str, ...]) -> list[str]:
    """The full names of the linear layers that get adapters.

    `wanted`: last parts of their names (`q_proj`, `conv.out_proj`); none: those of the architecture's row in
    LORA_TARGETS. The head and the embeddings are never among them.
    """
    linear = [
        name for name, module in model.get_decoder().named_modules() if isinstance(module, torch.nn.Linear) and name
    ]
    names = wanted or LORA_TARGETS.get(model.config.get_text_config().model_type, LLAMA_TARGETS)
    found = {target: [name for name in linear if f".{name}".endswith(f".{target}")] for target in names}
    missing = [target for target, matches in found.items() if not matches]
    if missing:
        there = ", ".join(sorted({name.rpartition(".")[2] for name in linear}))
        raise TrainingError(
            f"training.lora.targets: {', '.join(missing)}: no linear layer of this {model.config.model_type} model "
            f"bears that name; it has {there}"
        )
    decoder = {id(module): name for name, module in model.named_modules()}[id(model.get_decoder())]
    return [f"{decoder}.{name}" for name in linear if any(name in matches for matches in found.values())]


def is_adapter(name: str) -> bool:
    """Whether a parameter's name is that of an adapter."""
    return ".lora_" in name


def trainable_parameters(model: torch.nn.Module) -> int:
    """How many parameters the optimiser trains."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def adapter_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The adapters' weights under the names that peft saves and loads them by."""
    return {
        f"base_model.model.{name.replace(f'.{ADAPTER}.', '.')}": value.detach()
        for name, value in model.state_dict().items()
        if is_adapter(name)
    }


def save_adapter(model: Any, folder: Path, state: dict[str, torch.Tensor]) -> None:
    """Write `adapter_model.safetensors` and `adapter_config.json`, which peft and vLLM read.

    `state`: what `adapter_state` gave, in host memory.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    model.peft_config[ADAPTER].save_pretrained(folder)


def folded_state(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights of the base model's own names with every adapter added in float32, one after another.

    W + (alpha / rank) B A (paper, Appendix O). The model stays as it is; tied weights go on sharing their memory.
    """
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "get_delta_weight")}
    for name, value in model.state_dict().items():
        owner, base, parameter = name.rpartition(".base_layer.")
        if is_adapter(name):
            continue
        if base and parameter == "weight":
            delta = layers[owner].get_delta_weight(ADAPTER)
            value = (value.detach().float() + delta.detach().float()).to(value.dtype)
        yield f"{owner}.{parameter}" if base else name, value
