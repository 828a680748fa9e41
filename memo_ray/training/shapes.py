"""The shapes of the presets' models, as published in their configs: enough to count and to plan without a download."""

from __future__ import annotations

import json
from typing import Any

from memo_ray.artifacts.place import is_remote, open_file
from memo_ray.config.presets import MODELS
from memo_ray.errors import MemoError
from memo_ray.models.embedded import embedded_model

SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-1.5b": {
        "model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 1536, "intermediate_size": 8960,
        "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2,
        "max_position_embeddings": 32_768, "tie_word_embeddings": True,
    },
    "qwen2.5-14b": {
        "model_type": "qwen2", "vocab_size": 152_064, "hidden_size": 5120, "intermediate_size": 13_824,
        "num_hidden_layers": 48, "num_attention_heads": 40, "num_key_value_heads": 8,
        "max_position_embeddings": 32_768, "tie_word_embeddings": False,
    },
    "gemma3-1b": {
        "model_type": "gemma3_text", "vocab_size": 262_144, "hidden_size": 1152, "intermediate_size": 6912,
        "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
        "max_position_embeddings": 32_768, "sliding_window": 512, "tie_word_embeddings": True,
    },
    "lfm2.5-1.2b": {
        "model_type": "lfm2", "vocab_size": 65_536, "hidden_size": 2048, "intermediate_size": 12_288,
        "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "conv_L_cache": 3,
        "block_auto_adjust_ff_dim": True, "block_multiple_of": 256, "full_attn_idxs": [2, 5, 8, 10, 12, 14],
        "max_position_embeddings": 128_000, "tie_word_embeddings": True,
    },
}  # fmt: skip
"""By the first part of a preset's name. LFM2 narrows its `intermediate_size` to two thirds itself."""


def config_of(model: str) -> Any:
    """A transformers config of the shape of `model`, a key of SHAPES."""
    from transformers import AutoConfig

    return AutoConfig.for_model(**SHAPES[model])


def known_config(base: str, revision: str | None = None) -> Any | None:
    """The transformers config of a base model by its name in the settings, without its weights.

    Of a preset's base that cannot be had here it is the published shape; of others None.
    """
    from transformers import AutoConfig

    try:
        if is_remote(base):
            with open_file(f"{base.rstrip('/')}/config.json") as file:
                return AutoConfig.for_model(**json.loads(file.read()))
        folder = embedded_model()[0] if base == "embedded" else base
        return AutoConfig.from_pretrained(folder, revision=revision)
    except (OSError, ValueError, MemoError):
        published = {row["base"]: model for model, row in MODELS.items()}
        return config_of(published[base]) if base in published else None


def empty_model(model_config: Any) -> Any:
    """A causal language model of this config on the meta device: every shape and no weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(model_config)
