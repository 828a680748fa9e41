"""Whether a base and its memories are alike in all but their weights, told from their files' text.

Memories that training wrote mostly are. Then transformers has nothing to tell that `checks` asks it for, and importing
it, which takes longer than some merges, is spared. What is not alike here may still fit together: then it is asked.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from memo_ray.merging.headers import Tensor
from memo_ray.merging.tokenizer import tokenizer_files

NOT_THE_MODEL = {"transformers_version", "use_cache", "dtype", "torch_dtype", "architectures", "initializer_range"}
"""Keys of config.json that may differ between a base and its fine-tuned models (as may `_...` and `..._token_id`)."""

PLAIN = {
    "LlamaForCausalLM": "llama", "MistralForCausalLM": "mistral", "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}  # fmt: skip
"""Causal language models, each with its `model_type`, that tie the head to the embeddings and nothing else."""
EMBEDDINGS, HEAD = "model.embed_tokens.weight", "lm_head.weight"
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


def may_differ(key: str) -> bool:
    """Whether a key of config.json may differ between a base and its fine-tuned models."""
    return key in NOT_THE_MODEL or key.startswith("_") or key.endswith("_token_id")


def alike(base: Path, memories: Collection[Path], stored: Mapping[Path, Mapping[str, Tensor]]) -> bool:
    """Whether all are of one plain architecture with the same settings, tensors' names and tokenizer files.

    `stored`: the folders' tensors. Nothing tied is stored twice by such folders.
    """
    config = _config(base)
    if not config or not _is_plain(config, stored[base]):
        return False
    if any(_config(folder) != config or stored[folder].keys() != stored[base].keys() for folder in memories):
        return False
    files = tokenizer_files(base)
    return all(tokenizer_files(folder) == files for folder in memories) and _is_tokenizer(base)


def _config(folder: Path) -> dict[str, Any]:
    """What config.json says of the model; nothing when it cannot be read."""
    config = _read(folder / "config.json")
    return {key: value for key, value in config.items() if key == "architectures" or not may_differ(key)}


def _is_plain(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bool:
    named, tied = config.get("architectures"), config.get("tie_word_embeddings")
    sizes = [config.get(key) for key in SIZES]
    if named not in [[name] for name in PLAIN] or config.get("model_type") != PLAIN["".join(named or ())]:
        return False
    if {"quantization_config", "auto_map"} & config.keys() or not all(type(size) is int and size > 0 for size in sizes):
        return False
    embeddings = tensors.get(EMBEDDINGS)
    if embeddings is None or list(embeddings.shape) != sizes[:2]:
        return False
    return isinstance(tied, bool) and tied == (HEAD not in tensors)


def _is_tokenizer(folder: Path) -> bool:
    from tokenizers import Tokenizer

    try:
        Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception:  # noqa: BLE001  # the library raises nothing narrower
        return False
    return bool(_read(folder / "tokenizer_config.json"))


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
