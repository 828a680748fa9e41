"""From reflections and a base model's folder to tokenised examples on disk; what cannot be trained on is named here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memo_ray.config.training import TrainingConfig
from memo_ray.errors import TrainingError
from memo_ray.models.sources import TOKENIZER_FILES
from memo_ray.rows import Reflection
from memo_ray.training.examples import encode, end_tokens


def prepare(config: TrainingConfig, reflections: list[Reflection], base: Path, folder: Path) -> dict[str, Any]:
    """Tokenise the reflections into `folder`; returns their counts, as `pad` the id of a padding token, and as
    `positions` those of the model, or None."""
    from transformers import AutoConfig, AutoTokenizer

    if not any(base.glob("*.safetensors")):
        raise TrainingError(f"training.base: {base}: holds no .safetensors weights; convert the model first")
    if not any((base / name).is_file() for name in TOKENIZER_FILES):
        raise TrainingError(f"training.base: {base}: holds no tokenizer; copy tokenizer.json and its config into it")
    tokenizer = AutoTokenizer.from_pretrained(base)
    positions = getattr(AutoConfig.from_pretrained(base).get_text_config(), "max_position_embeddings", None)
    if positions and config.max_sequence_length > positions:
        raise TrainingError(
            f"training.max_sequence_length: {config.max_sequence_length} is beyond the {positions} positions of "
            f"{base}; set it to {positions} or less"
        )
    ends = end_tokens(base, tokenizer)
    examples = encode(reflections, tokenizer, config.max_sequence_length, ends)
    examples.save(folder)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(ends)
    return {
        "reflections": len(examples),
        "truncated": examples.truncated,
        "left_out": examples.left_out,
        "longest": examples.longest,
        "pad": int(pad),
        "positions": positions,
    }
