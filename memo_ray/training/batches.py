"""Micro-batches as tensors: the model's inputs, the places whose next token is learnt, and those tokens.

Positions restart with every example. From that (or from the sequence lengths, for variable-length attention)
transformers builds the block-diagonal mask, so no example sees another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from memo_ray.training.blocks import places_of
from memo_ray.training.examples import Examples
from memo_ray.training.packing import MicroBatch

WIDTH_STEP, FLAT_STEP, TARGETS_STEP = 16, 32, 64
"""Rows, a CPU's flat row and targets are padded to multiples of these: oneDNN compiles its matrix products for each
shape anew, which takes longer than a small model's step when every step has a shape of its own."""

NO_TARGET = -100
"""The target of a place that only pads; `torch.nn.functional.cross_entropy` leaves it out."""


@dataclass(frozen=True, slots=True)
class Batch:
    """`inputs`: what the model's forward takes. `kept`: places, counted over all rows, that predict an answer token.

    `targets`: the tokens they predict, or NO_TARGET. `tokens`: tokens of examples; `padded`: tokens with padding.
    """

    inputs: dict[str, Any]
    kept: torch.Tensor
    targets: torch.Tensor
    tokens: int
    padded: int


def make_batch(
    rows: MicroBatch, examples: Examples, pad: int, *, flat: bool, device: torch.device, segments: bool = False
) -> Batch:
    """Lay out `rows` of examples. `flat`: behind one another in a single row without padding.

    `segments`: also number the sequences of each row (`seq_idx`), which models with short convolutions need. A
    micro-batch without rows becomes one padding token without a loss, so that its worker can keep step.
    """
    if flat:
        rows = [[index for row in rows for index in row]] if rows else []
    lengths = examples.lengths
    packed = any(len(row) > 1 for row in rows)
    width = max((int(sum(lengths[index] for index in row)) for row in rows), default=1)
    blocks = flat and device.type == "cpu"
    if blocks or not flat:
        width = _rounded(width, FLAT_STEP if flat else WIDTH_STEP)
    ids = np.full((max(1, len(rows)), width), pad, dtype=np.int64)
    positions = np.zeros_like(ids)
    kept: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for place, row in enumerate(rows):
        offset = 0
        for index in row:
            tokens, prompt = examples.example(index), int(examples.prompts[index])
            end = offset + len(tokens)
            ids[place, offset:end] = tokens
            positions[place, offset:end] = np.arange(len(tokens))
            kept.append(place * width + np.arange(offset + prompt - 1, end - 1))
            targets.append(tokens[prompt:].astype(np.int64))
            offset = end
        # Behind packed examples padding is a sequence of its own; behind a single one it goes on counting, which
        # keeps the plain causal mask: nothing looks back from the padding.
        positions[place, offset:] = np.arange(width - offset) + (0 if packed else offset)
    inputs: dict[str, Any] = {
        "input_ids": torch.from_numpy(ids).to(device),
        "position_ids": torch.from_numpy(positions).to(device),
    }
    if segments:
        # A sequence begins where positions restart; the padding behind packed examples is one of its own.
        starts = torch.from_numpy(positions == 0).to(device)
        inputs["seq_idx"] = starts.cumsum(-1, dtype=torch.int32) - 1
    if flat:
        each = [int(lengths[index]) for row in rows for index in row] or [1]
        inputs |= _blocks(each, width) if blocks else _sequence_lengths(each, device)
    answers = sum(map(len, targets))
    spare = _rounded(answers, TARGETS_STEP) - answers
    kept.append(np.zeros(spare, dtype=np.int64))
    targets.append(np.full(spare, NO_TARGET, dtype=np.int64))
    return Batch(
        inputs,
        torch.from_numpy(np.concatenate(kept)).to(device),
        torch.from_numpy(np.concatenate(targets)).to(device),
        tokens=sum(int(lengths[index]) for row in rows for index in row),
        padded=ids.size,
    )


def _rounded(count: int, step: int) -> int:
    return -(-count // step) * step


def _blocks(lengths: list[int], width: int) -> dict[str, Any]:
    """What attention in blocks takes, on a CPU."""
    tokens, places = places_of(lengths, width, WIDTH_STEP)
    return {"block_tokens": torch.from_numpy(tokens), "block_places": torch.from_numpy(places)}


def _sequence_lengths(lengths: list[int], device: torch.device) -> dict[str, Any]:
    """What variable-length attention takes, under transformers' names."""
    ends = torch.tensor([0, *np.cumsum(lengths).tolist()], dtype=torch.int32, device=device)
    return {
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }
