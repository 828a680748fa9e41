"""Gradient checkpointing with a choice of what is kept, and the compilation of layers: memory against time."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch._functorch.config
from torch.utils.checkpoint import create_selective_checkpoint_contexts

PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm")
ATTENTION = (
    "aten::_scaled_dot_product_flash_attention",
    "aten::_scaled_dot_product_flash_attention_for_cpu",
    "aten::_scaled_dot_product_efficient_attention",
    "aten::_scaled_dot_product_cudnn_attention",
    "torch_attn::_varlen_attn",
    "flash_attn::_flash_attn_varlen_forward",
)
"""Operators whose results may be kept. Those that this PyTorch has not are left out. Eager attention is made of
products: it is kept with them, not by itself."""

KEPT: dict[str, tuple[str, ...]] = {"nothing": (), "attention": ATTENTION, "products": (*ATTENTION, *PRODUCTS)}
"""What `training.checkpoint_keep` keeps of a layer's inside."""


def checkpoint_layers(model: Any, keep: str) -> None:
    """Compute every layer's inside again on the way back, but for the results that `keep` (a key of KEPT) names."""
    options: dict[str, Any] = {"use_reentrant": False}
    kept = [op for name in KEPT[keep] for op in _overloads(name)]
    if kept:
        options["context_fn"] = functools.partial(create_selective_checkpoint_contexts, kept)
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)


def compile_layers(model: Any, *, products_only: bool = False) -> None:
    """Compile each decoder layer by itself: layers are alike, so the first one's code serves all of them.

    Lengths differ from batch to batch and stay symbolic. Names of weights do not change. `products_only`: a layer keeps
    its matrix products and attention for the way back, and computes everything else again inside the kernels that
    need it; for the whole process, since PyTorch has one setting.
    """
    torch._functorch.config.aggressive_recomputation = products_only  # type: ignore[attr-defined]
    for layer in model.get_decoder().layers:
        layer.compile(dynamic=True)


def _overloads(name: str) -> list[Callable[..., Any]]:
    space, _, operator = name.partition("::")
    try:
        packet = getattr(getattr(torch.ops, space), operator)
    except AttributeError:
        return []
    return [getattr(packet, overload) for overload in packet.overloads() if not overload.endswith("out")]
