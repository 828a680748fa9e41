"""The loss: cross entropy of the answers' tokens, from hidden states, without ever holding all their logits.

    decoder ─ hidden states ─ places that predict an answer token ─ linear head + cross entropy, fused ─ one sum

The sum is not divided here: a step divides by its answer tokens over all micro-batches and workers. Where
`liger-kernel` is installed on a GPU its kernel computes the fused part; elsewhere `linear_cross_entropy` does, by
blocks of the vocabulary.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch

from memo_ray.training.batches import NO_TARGET, Batch

LOGITS_AT_ONCE = 2**26
"""Logits that exist at a time: 256 MiB in float32. Fewer logits than this are kept for the way back."""

LIGER_LOGITS_AT_ONCE = 2**27
"""The same for Liger's kernel: 256 MiB in bf16, or up to twice as many, since it rounds tokens up to a power of 2."""


class AnswerLoss(torch.nn.Module):
    """`model` with its loss as its output. `fused`: the head's logits are never all made."""

    def __init__(self, model: Any, *, fused: bool = True) -> None:
        super().__init__()
        self.model = model
        self.fused = fused

    def forward(self, batch: Batch) -> torch.Tensor:
        """The summed cross entropy of the answer tokens of `batch`: a float32 scalar, 0 when there are none."""
        if not self.fused:
            chosen = self._logits(batch).float()
            return torch.nn.functional.cross_entropy(chosen, batch.targets, reduction="sum", ignore_index=NO_TARGET)
        chosen, head = self._hidden(batch), self.model.get_output_embeddings()
        softcap = getattr(self.model.config.get_text_config(), "final_logit_softcapping", None)
        return head_loss(chosen, head.weight, getattr(head, "bias", None), batch.targets, softcap)

    def likeliest(self, batch: Batch) -> torch.Tensor:
        """The likeliest token at each of the kept places of `batch`, given what stands before it: (places,)."""
        if not self.fused:
            return self._logits(batch).argmax(-1)
        chosen, head = self._hidden(batch), self.model.get_output_embeddings()
        # Capping and scaling logits changes no order.
        blocks = chosen.split(max(1, LOGITS_AT_ONCE // head.weight.shape[0]))
        return torch.cat([head(block).argmax(-1) for block in blocks])

    def _hidden(self, batch: Batch) -> torch.Tensor:
        hidden = self.model.get_decoder()(**batch.inputs, use_cache=False).last_hidden_state
        return hidden.reshape(-1, hidden.shape[-1])[batch.kept]

    def _logits(self, batch: Batch) -> torch.Tensor:
        logits = self.model(**batch.inputs, use_cache=False).logits
        return logits.reshape(-1, logits.shape[-1])[batch.kept]


def head_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    softcap: float | None = None,
) -> torch.Tensor:
    """The summed cross entropy of a linear head, by the fastest fused way of the device; arguments as below."""
    if hidden.is_cuda and len(hidden):
        liger = _liger_loss()
        if liger is not None:
            return liger(
                hidden, weight, targets, bias, softcap=softcap, reduction="sum", ignore_index=NO_TARGET,
                accum_dtype=torch.float32, **_fewer_chunks(liger, len(hidden), *weight.shape),
            )  # fmt: skip
    return linear_cross_entropy(hidden, weight, bias, targets, softcap)


def linear_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    targets: torch.Tensor,
    softcap: float | None = None,
    at_once: int = LOGITS_AT_ONCE,
) -> torch.Tensor:
    """Summed cross entropy of `hidden @ weight.T + bias` against `targets`, in float32, by blocks of the vocabulary.

    `hidden`: (tokens, size). `weight`: (vocabulary, size). `targets`: (tokens,), NO_TARGET is left out. `softcap`:
    logits become softcap * tanh(logits / softcap). `at_once`: logits that exist at a time, at least one column. The
    way back computes each block's logits again, unless all of them fitted, and makes every weight's gradient in one
    product, so that blocks cost it no precision.
    """
    total: Any = _LinearCrossEntropy.apply(hidden, weight, bias, targets, softcap, at_once)
    return total


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        targets: torch.Tensor,
        softcap: float | None,
        at_once: int,
    ) -> torch.Tensor:
        block = min(weight.shape[0], max(1, at_once // max(1, len(hidden))))
        logsumexp = hidden.new_full((len(hidden),), -torch.inf, dtype=torch.float32)
        right = torch.zeros_like(logsumexp)
        logits = None
        for start in range(0, weight.shape[0], block):
            logits = _logits(hidden, weight, bias, softcap, start, block)
            torch.logaddexp(logsumexp, logits.logsumexp(-1), out=logsumexp)
            here, place = _targets_within(targets, start, logits.shape[1])
            right += torch.where(here, logits.gather(1, place).squeeze(1), 0.0)
        ctx.kept = logits if block == weight.shape[0] else None
        ctx.softcap, ctx.block = softcap, block
        ctx.save_for_backward(hidden, weight, bias, targets, logsumexp)
        return torch.where(targets != NO_TARGET, logsumexp - right, 0.0).sum()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        hidden, weight, bias, targets, logsumexp = ctx.saved_tensors
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        to_hidden = torch.zeros(hidden.shape, dtype=torch.float32, device=hidden.device) if wants_hidden else None
        to_weight = torch.empty_like(weight) if wants_weight else None
        to_bias = torch.empty_like(bias) if wants_bias else None
        scale = torch.where(targets != NO_TARGET, gradients[0], 0.0).unsqueeze(1)
        for start in range(0, weight.shape[0], ctx.block):
            logits, ctx.kept = ctx.kept, None
            if logits is None:
                logits = _logits(hidden, weight, bias, ctx.softcap, start, ctx.block)
            slope = 1 - (logits / ctx.softcap) ** 2 if ctx.softcap else None
            here, place = _targets_within(targets, start, logits.shape[1])
            share = logits.sub_(logsumexp.unsqueeze(1)).exp_()
            share.scatter_add_(1, place, -here.unsqueeze(1).to(share.dtype))
            share.mul_(scale)
            if slope is not None:
                share.mul_(slope)
            end = start + share.shape[1]
            low = share.to(weight.dtype)
            if to_hidden is not None:
                to_hidden += low @ weight[start:end]
            if to_weight is not None:
                torch.mm(low.T, hidden.to(weight.dtype), out=to_weight[start:end])
            if to_bias is not None:
                to_bias[start:end] = share.sum(0)
        return None if to_hidden is None else to_hidden.to(hidden.dtype), to_weight, to_bias, None, None, None


def _logits(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, softcap: float | None, start: int, block: int
) -> torch.Tensor:
    """The logits of some words of the vocabulary, (tokens, block), in float32."""
    some = slice(start, start + block)
    logits = torch.nn.functional.linear(hidden, weight[some], None if bias is None else bias[some]).float()
    return logits.div_(softcap).tanh_().mul_(softcap) if softcap else logits


def _targets_within(targets: torch.Tensor, start: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which targets lie in a block, (tokens,), and their columns in it, (tokens, 1); 0 for those that do not."""
    place = targets - start
    here = (place >= 0) & (place < width)
    return here, torch.where(here, place, 0).unsqueeze(1)


@functools.cache
def _liger_loss() -> Any:
    """Liger's fused loss; None where it is not installed."""
    try:
        from liger_kernel.transformers.functional import (  # type: ignore[import-not-found]
            liger_fused_linear_cross_entropy,
        )
    except ImportError:
        return None
    return liger_fused_linear_cross_entropy


def _fewer_chunks(liger: Any, tokens: int, vocabulary: int, size: int) -> dict[str, int]:
    """Liger's option for chunks of LIGER_LOGITS_AT_ONCE logits; none for a release that does not know it.

    Of itself it takes as many chunks of tokens as the vocabulary is larger than the hidden size, some hundred for a
    small model, and each of them reads and writes the whole float32 gradient of the head.
    """
    if "chunk_mem_const" not in _parameters(liger):
        return {}
    return {"chunk_mem_const": max(1, LIGER_LOGITS_AT_ONCE // max(1, tokens * size))}


@functools.cache
def _parameters(function: Any) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)
