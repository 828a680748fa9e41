"""Which attention a worker computes with, and the proof that it keeps packed examples apart.

On GPUs examples lie behind one another in a single row under variable-length attention. On a CPU, where no such
kernel exists, they lie in short rows of equal length, and transformers masks them apart by their positions.
"""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from memo_ray.errors import TrainingError
from memo_ray.training.batches import Batch, make_batch
from memo_ray.training.blocks import BLOCKS, register_blocks
from memo_ray.training.examples import Examples
from memo_ray.training.packing import MicroBatch

VARLEN = "memo_varlen"

CPU_ROW_TOKENS = 128
"""Tokens of a packed row on a CPU. A dense mask costs the square of a row."""

EAGER_ROW_TOKENS = 256
"""Up to this length plain matrix products beat PyTorch's CPU kernel, whose bfloat16 backward pass is slow."""

EAGER_GPU_ROW_TOKENS = 1024
"""The same on a GPU, where a row's scores take memory by the square of its length."""

PROBE_TOKENS = 8

CPU_MICRO_BATCH_TOKENS = 2048
"""Most tokens that a CPU computes at once. More of them take more memory and save no time."""


@dataclass(frozen=True, slots=True)
class Attention:
    """`name`: transformers' name of it; None: the model's own default. `flat`: all examples in a single row.

    `row_tokens`: tokens of a packed row; None: as many as the config's `max_sequence_length`. `segments`: the model
    must be told the numbers of the packed sequences.
    """

    name: str | None
    flat: bool = False
    row_tokens: int | None = None
    segments: bool = False


def choose_attention(
    model_config: Any, device: torch.device, precision: str, longest: int, wanted: str = "auto"
) -> Attention:
    """The fastest exact attention for a model on a device, or the `wanted` one (`training.attention`).

    `longest`: tokens of the longest example. Raises TrainingError when what is wanted cannot be had.
    """
    gpu = device.type == "cuda"
    if wanted == "flash_attention_2":
        if not gpu or precision != "bf16" or not _flash_attention_is_installed():
            raise TrainingError(
                "training.attention: flash_attention_2 needs a GPU, precision: bf16 and the package flash-attn; "
                "set attention: auto, which takes it where it is there"
            )
        return Attention("flash_attention_2", flat=True)
    if wanted == "eager" or getattr(model_config.get_text_config(), "attn_logit_softcapping", None):
        return Attention("eager", row_tokens=EAGER_GPU_ROW_TOKENS if gpu else CPU_ROW_TOKENS)
    if wanted == "sdpa":
        return Attention("sdpa", row_tokens=None if gpu else CPU_ROW_TOKENS)
    if not gpu:
        if longest <= CPU_ROW_TOKENS and not getattr(model_config.get_text_config(), "attention_dropout", 0):
            register_blocks()
            return Attention(BLOCKS, flat=True, row_tokens=CPU_ROW_TOKENS)
        short = max(longest, CPU_ROW_TOKENS) <= EAGER_ROW_TOKENS
        return Attention("eager" if short else None, row_tokens=CPU_ROW_TOKENS)
    if precision == "bf16" and _flash_attention_is_installed():
        return Attention("flash_attention_2", flat=True)
    if precision == "bf16" and _register_varlen():
        return Attention(VARLEN, flat=True)
    return Attention(None)


def keeps_examples_apart(model: Any, attention: Attention) -> bool:
    """Whether an example's logits stay the same when another one is packed before it.

    A probe of the loaded model rather than a list of architectures: recurrent layers carry state across examples,
    and a model that ignores its positions has no mask between them.
    """
    training = model.training
    model.eval()
    with torch.no_grad():
        first, other = (
            model(**probe_batch(model, [[before, 2]], attention).inputs, use_cache=False).logits[0, PROBE_TOKENS:]
            for before in (0, 1)
        )
    model.train(training)
    # What is masked has the weight 0, so nothing of it can be left, not even in the last digit.
    return torch.equal(first, other)


def probe_batch(model: Any, rows: MicroBatch, attention: Attention) -> Batch:
    """Some of three made-up examples of PROBE_TOKENS tokens each, to try a model with."""
    some = np.arange(PROBE_TOKENS, dtype=np.int32)
    tokens = np.concatenate([some + 3, some * 5 + 20, some * 3 + 7])
    examples = Examples(
        tokens=tokens % int(model.config.get_text_config().vocab_size),
        starts=np.arange(4, dtype=np.int64) * PROBE_TOKENS,
        prompts=np.full(3, PROBE_TOKENS // 2, dtype=np.int32),
    )
    return make_batch(rows, examples, 0, flat=attention.flat, device=model.device, segments=attention.segments)


def _flash_attention_is_installed() -> bool:
    from transformers.utils.import_utils import is_flash_attn_2_available

    return bool(is_flash_attn_2_available())


def _register_varlen() -> bool:
    """Make PyTorch's own variable-length attention known to transformers; False where PyTorch has none."""
    try:
        from torch.nn.attention import varlen  # noqa: F401
    except ImportError:
        return False
    from transformers import AttentionInterface

    _varlen_options()  # looked up once here: a compiled layer could not look it up
    AttentionInterface.register(VARLEN, varlen_attention)
    return True


def varlen_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **unused: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each sequence of a flat row; the signature is transformers'.

    `query`, `key`, `value`: (1, heads, tokens, size); returns (1, tokens, heads, size).
    """
    from torch.nn.attention.varlen import varlen_attn

    unable = [name for name in ("softcap", "s_aux", "position_bias") if unused.get(name) is not None]
    if unable or unused.get("dropout"):
        raise TrainingError(
            f"training.packing: variable-length attention knows no {', '.join(unable) or 'dropout'}, which this model "
            "needs; install flash-attn, or set packing: false"
        )
    heads = query.shape[1] // key.shape[1]
    q, k, v = (one[0].transpose(0, 1) for one in (query, key, value))
    options: dict[str, Any] = {"is_causal": True}
    known = _varlen_options()
    if "window_size" in known:
        options = {"window_size": (sliding_window - 1 if sliding_window else -1, 0)}
    if heads > 1 and "enable_gqa" in known:
        options["enable_gqa"] = True
    elif heads > 1:
        k, v = k.repeat_interleave(heads, dim=1), v.repeat_interleave(heads, dim=1)
    out: Any = varlen_attn(
        q.contiguous(), k.contiguous(), v.contiguous(), cu_seq_lens_q, cu_seq_lens_q, max_length_q, max_length_q,
        scale=scaling, **options,
    )  # fmt: skip
    return out.unsqueeze(0), None


@functools.cache
def _varlen_options() -> frozenset[str]:
    """What this PyTorch's variable-length attention can be told: its first releases know no window and no groups."""
    from torch.nn.attention.varlen import varlen_attn

    return frozenset(inspect.signature(varlen_attn).parameters)
