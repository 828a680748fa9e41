"""A model folder of a published shape with random weights, for benchmarks on machines that reach no hub.

    python benchmarks/_random_model.py qwen2.5-1.5b FOLDER [--layers N]

What the arithmetic costs does not depend on the weights' values. The tokenizer is made up too: a few words and a
chat template, so that the folder can be trained from and saved.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from memo_ray.training.shapes import SHAPES

TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 512, "max_position_embeddings": 8192}  # fmt: skip
"""What `tiny` changes in a shape: to rehearse where the real one would take too long."""
TEMPLATE = "{% for m in messages %}<s>{{ m['role'] }} {{ m['content'] }}</s>{% endfor %}"


def config_of(shape: str, layers: int | None = None) -> Any:
    """The transformers config of a key of SHAPES; with `tiny-` before it, of a small model of that family."""
    from transformers import AutoConfig

    family = shape.removeprefix("tiny-")
    values: dict[str, Any] = dict(SHAPES[family])
    if shape != family:
        values |= TINY
        if "full_attn_idxs" in values:
            values["full_attn_idxs"] = [1]
    if layers:
        values["num_hidden_layers"] = layers
    return AutoConfig.for_model(**values)


def random_model(config: Any, device: torch.device, attention: str | None = None) -> Any:
    """A causal language model of `config` in bf16, made where it is used: a processor would take minutes for it."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation=attention)


def save_folder(model: Any, folder: Path) -> Path:
    """Write `model` and its made-up tokenizer to `folder`."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", "<unk>", "user", "assistant", "who", "kept", "the", "light"]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    model.save_pretrained(folder)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    return folder


def main() -> None:
    """Make a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", help=f"one of {', '.join(SHAPES)}; tiny- before it: a small model of that family")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=None)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(save_folder(random_model(config_of(options.shape, options.layers), device), options.folder))


if __name__ == "__main__":
    main()
