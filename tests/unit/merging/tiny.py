"""Tiny bases and memories for the tests of merging: the tiny Llama with another seed, tying or number format."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")

Weights = dict[str, np.ndarray]


def make_base(tiny_model: Path, folder: Path, *, tied: bool = True, dtype: str = "bfloat16", seed: int = 0) -> Path:
    """A Llama of the tiny model's shape with random weights, and its tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(tiny_model)
    config.tie_word_embeddings = tied
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config)
        _shake(model, 0.05)
        model.to(getattr(torch, dtype)).save_pretrained(folder)
    return _with_tokenizer(tiny_model, folder)


def make_memory(base: Path, folder: Path, *, seed: int, scale: float = 0.02) -> Path:
    """`base` with noise on every weight, as if it had been fine-tuned."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _shake(model, scale)
    model.save_pretrained(folder)
    return _with_tokenizer(base, folder)


def make_memories(base: Path, folder: Path, count: int) -> dict[str, Path]:
    """`count` memories of `base`, named a, b, c, ..."""
    return {name: make_memory(base, folder / name, seed=place + 1) for place, name in enumerate("abcdef"[:count])}


def read(folder: Path) -> Weights:
    """Every stored tensor as float32."""
    from safetensors.torch import load_file

    return {name: tensor.float().numpy() for name, tensor in load_file(folder / "model.safetensors").items()}


def rewrite(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Store a folder's tensors again after `change(tensors)`, which gets and returns a dictionary."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    save_file(change(tensors), folder / "model.safetensors", metadata={"format": "pt"})


def _shake(model: Any, scale: float) -> None:
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape).to(parameter.dtype) * scale)


def _with_tokenizer(source: Path, folder: Path) -> Path:
    for name in TOKENIZER:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    return folder
