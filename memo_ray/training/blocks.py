"""Attention of examples that lie in one flat row, on a CPU, which has no kernel for that.

    (1, heads, tokens, size) ─ moved ─ (examples, longest, heads, size) ─ causal attention ─ moved back

So only attention is padded, to the longest example; all other layers compute tokens of examples alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from memo_ray.errors import TrainingError

BLOCKS = "memo_blocks"
"""The name that transformers knows it by."""


def places_of(lengths: list[int], width: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Where examples of these `lengths`, behind one another in a row of `width` tokens, lie in their blocks.

    Returns the token that each place of a block takes, (examples, longest rounded up to `step`), those behind an
    example's end take any, and the place of each example's token among all blocks', (tokens,).
    """
    longest = -(-max(lengths) // step) * step
    starts = np.cumsum([0, *lengths[:-1]])
    tokens = np.minimum(starts[:, None] + np.arange(longest), width - 1)
    inside = np.arange(longest) < np.asarray(lengths)[:, None]
    return tokens, np.flatnonzero(inside)


class _Spread(torch.autograd.Function):
    """Rows of `flat` to the places that take them; what a place behind an example's end takes gets no gradient."""

    @staticmethod
    def forward(ctx: Any, flat: torch.Tensor, tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(places)
        ctx.rows = len(flat)
        return flat.index_select(0, tokens)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (places,) = ctx.saved_tensors
        found = gradients[0].index_select(0, places)
        return torch.nn.functional.pad(found, (0, 0, 0, ctx.rows - len(found))), None, None


class _Gather(torch.autograd.Function):
    """The rows of `blocks` at `places`, and zeros behind them up to `rows`."""

    @staticmethod
    def forward(ctx: Any, blocks: torch.Tensor, places: torch.Tensor, rows: int) -> torch.Tensor:
        ctx.save_for_backward(places)
        ctx.shape = blocks.shape
        return torch.nn.functional.pad(blocks.index_select(0, places), (0, 0, 0, rows - len(places)))

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
        (places,) = ctx.saved_tensors
        found = gradients[0].new_zeros(ctx.shape)
        return found.index_copy_(0, places, gradients[0][: len(places)]), None, None


def blocks_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    block_tokens: torch.Tensor,
    block_places: torch.Tensor,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each example of a flat row; the signature is transformers'.

    `query`, `key`, `value`: (1, heads, tokens, size); returns (1, tokens, heads, size). The other two are what
    `places_of` returns.
    """
    unable = [name for name in ("softcap", "s_aux", "position_bias") if unused.get(name) is not None]
    if unable or unused.get("dropout"):
        raise TrainingError(
            f"training.attention: attention in blocks knows no {', '.join(unable) or 'dropout'}, which this model "
            "needs; set attention: eager"
        )
    _, heads, count, size = query.shape
    few, (examples, longest) = key.shape[1], block_tokens.shape
    tokens = block_tokens.flatten()

    def spread(flat: torch.Tensor) -> torch.Tensor:
        """(examples, heads, longest, size)"""
        rows = flat[0].transpose(0, 1).reshape(count, -1)
        found: Any = _Spread.apply(rows, tokens, block_places)
        return found.view(examples, longest, -1, size).transpose(1, 2)

    # Heads that share a key lie behind one another, so that no key is repeated.
    q = spread(query).reshape(examples * few, heads // few * longest, size)
    k, v = (spread(one).reshape(examples * few, longest, size) for one in (key, value))
    mask = masked(longest, sliding_window, query.dtype).repeat(heads // few, 1)
    scores = torch.baddbmm(mask, q, k.transpose(1, 2), alpha=size**-0.5 if scaling is None else scaling)
    shares = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    out = torch.bmm(shares, v).view(examples, heads, longest, size).transpose(1, 2)
    found: Any = _Gather.apply(out.reshape(examples * longest, heads * size), block_places, count)
    return found.view(1, count, heads, size), None


def masked(longest: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
    """What is added to the scores of a block, (longest, longest): nothing, or minus infinity for what is not seen."""
    back = torch.arange(longest)[:, None] - torch.arange(longest)
    seen = (back >= 0) & (back < window) if window else back >= 0
    return torch.zeros(longest, longest, dtype=dtype).masked_fill_(~seen, -torch.inf)


def register_blocks() -> None:
    """Make `blocks_attention` known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(BLOCKS, blocks_attention)
