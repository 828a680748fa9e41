"""Packed examples against each example alone, by family: losses and gradients; prints one JSON line.

    python benchmarks/packing_parity.py [--device cuda] [--examples 48]

Small random models of the presets' families. `packed` is the trainer's batches, attention and fused loss in bf16 (on a
CPU in float32); `alone` is transformers' own model, one example at a time, without a mask, with plain cross entropy. In
bf16 the two round differently, so beside the differences of loss and gradient norm stands the `floor`: that of `alone`
in bf16 from `alone` in float32 with the same weights.
"""

from __future__ import annotations

import argparse
import json
from typing import Any, Literal

import torch
from _random_model import config_of, random_model
from _steps import make_examples

from memo_ray.config.training import TrainingConfig
from memo_ray.training.attention import choose_attention
from memo_ray.training.batches import make_batch
from memo_ray.training.examples import Examples
from memo_ray.training.loading import make_ready
from memo_ray.training.packing import Layout, share_out
from memo_ray.training.shapes import SHAPES

Found = tuple[float, float]
"""Loss by answer token, norm of the gradients."""


def packed(shape: Any, examples: Examples, device: torch.device, precision: Literal["bf16", "fp32"]) -> Found:
    """As the trainer computes a step."""
    config = TrainingConfig(precision=precision, gradient_checkpointing=False, max_sequence_length=2048)
    lengths = examples.lengths.tolist()
    attention = choose_attention(shape, device, precision, max(lengths), "auto")
    model = random_model(shape, device, attention.name).to(torch.bfloat16 if precision == "bf16" else torch.float32)
    loaded = make_ready(model, config, attention)
    assert loaded.packed
    layout = Layout(min(loaded.attention.row_tokens or 2048, 2048), config.micro_batch_tokens, packed=True)
    answers, total = int(examples.answer_tokens.sum()), 0.0
    for rows in share_out(list(range(len(lengths))), lengths, layout, 1)[0]:
        batch = make_batch(
            rows, examples, 0, flat=loaded.attention.flat, device=device, segments=loaded.attention.segments
        )
        loss = loaded.loss(batch) / answers
        loss.backward()
        total += loss.item()
    return total, norm(model)


def alone(shape: Any, examples: Examples, device: torch.device, dtype: torch.dtype) -> Found:
    """As transformers computes every example by itself."""
    model = random_model(shape, device, "eager").to(dtype).train()
    answers, total = int(examples.answer_tokens.sum()), 0.0
    for index in range(len(examples)):
        tokens = torch.from_numpy(examples.example(index)).long().to(device)[None]
        prompt = int(examples.prompts[index])
        logits = model(input_ids=tokens, use_cache=False).logits[0, prompt - 1 : -1].float()
        loss = torch.nn.functional.cross_entropy(logits, tokens[0, prompt:], reduction="sum") / answers
        loss.backward()
        total += loss.item()
    return total, norm(model)


def norm(model: Any) -> float:
    """The norm of all gradients together."""
    return float(sum(p.grad.double().square().sum() for p in model.parameters() if p.grad is not None)) ** 0.5


def apart(one: Found, other: Found) -> dict[str, float]:
    """Relative differences."""
    return {
        name: float(f"{abs(mine - theirs) / abs(theirs):.2e}")
        for name, mine, theirs in zip(("loss", "gradient"), one, other, strict=True)
    }


def main() -> None:
    """Compare every family."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--examples", type=int, default=48)
    options = parser.parse_args()
    device = torch.device(options.device)
    gpu = device.type == "cuda"
    result: dict[str, Any] = {"device": options.device, "precision": "bf16" if gpu else "fp32"}
    for family in SHAPES:
        if family == "qwen2.5-14b":  # a size of the first one's family
            continue
        shape = config_of(f"tiny-{family}")
        examples = make_examples(options.examples, 1.0, shape.vocab_size)
        exact = alone(shape, examples, device, torch.float32)
        mine = packed(shape, examples, device, "bf16" if gpu else "fp32")
        result[family] = apart(mine, exact)
        if gpu:
            rounded = alone(shape, examples, device, torch.bfloat16)
            result[family] |= {"beside_alone": apart(mine, rounded), "floor": apart(rounded, exact)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
