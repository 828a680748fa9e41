"""A base model made ready to train: attention, packing, adapters, checkpointing, compilation, and the loss as output.

Each way of computing faster is tried on the loaded model and taken only where it computes the same.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from memo_ray.config.training import TrainingConfig
from memo_ray.training.attention import Attention, choose_attention, keeps_examples_apart, probe_batch
from memo_ray.training.convolutions import separate_convolutions
from memo_ray.training.lora import adapt
from memo_ray.training.loss import AnswerLoss
from memo_ray.training.recompute import checkpoint_layers, compile_layers

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loaded:
    """`loss`: the model whose output is its loss. `attention`: how it computes. `packed`: whether rows may be."""

    loss: AnswerLoss
    attention: Attention
    packed: bool

    @property
    def model(self) -> Any:
        """The Hugging Face model itself, with adapters if they are what is trained."""
        return self.loss.model


def load_model(base: Path, config: TrainingConfig, device: torch.device, longest: int) -> Loaded:
    """The model in `base`; `longest`: tokens of the longest example.

    Only safetensors are read, and no code of a model's folder is run.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    attention = choose_attention(AutoConfig.from_pretrained(base), device, config.precision, longest, config.attention)
    model: Any = AutoModelForCausalLM.from_pretrained(
        base,
        dtype=torch.bfloat16 if config.precision == "bf16" else torch.float32,
        attn_implementation=attention.name,
        use_safetensors=True,
    )
    return make_ready(model.to(device), config, attention)


def make_ready(model: Any, config: TrainingConfig, attention: Attention) -> Loaded:
    """A loaded `model` that was made with `attention`, ready to train as `config` says; changed in place."""
    model.config.use_cache = False
    packed, attention = config.packing, replace(attention, segments=separate_convolutions(model))
    if packed and not keeps_examples_apart(model, attention):
        log.warning("training.packing: this model mixes packed examples; it is trained padded, one example a row")
        packed = False
    if not packed:
        if attention.flat:
            model.set_attn_implementation("sdpa")
        attention = Attention(None if attention.flat else attention.name, row_tokens=attention.row_tokens)
    if config.lora:
        adapt(model, config.lora, config.seed, base=config.base)
    fused = head_is_linear(model, attention)
    if not fused:
        log.warning("training: this model's head is no plain linear layer; all logits of a micro-batch are made")
    if config.compile:
        compile_layers(model, products_only=config.gradient_checkpointing and config.checkpoint_keep == "products")
    if config.gradient_checkpointing and not (config.compile and config.checkpoint_keep == "products"):
        checkpoint_layers(model, config.checkpoint_keep)
    return Loaded(AnswerLoss(model.train(), fused=fused), attention, packed)


def head_is_linear(model: Any, attention: Attention) -> bool:
    """Whether the fused loss of a few tokens is the loss of the model's own logits.

    A probe rather than a list of architectures: some scale their logits, and adapters may sit on a head.
    """
    batch = probe_batch(model, [[0, 1]], attention)
    training = model.training
    model.eval()
    with torch.no_grad():
        fused, plain = (AnswerLoss(model, fused=way)(batch).item() for way in (True, False))
    model.train(training)
    tolerance = 1e-4 if model.dtype == torch.float32 else 2e-2
    return abs(fused - plain) <= tolerance * abs(plain)
