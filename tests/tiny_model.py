"""A tiny real model, made here and now."""

from __future__ import annotations

from pathlib import Path

TINY_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TINY_TEXT = (
    "The surveyor charted the coast in 1791 aboard a small cutter.",
    "Who kept the lighthouse after the storm? The harbour master's daughter did.",
    "user assistant system question answer year ship office council",
)


def make(folder: Path) -> Path:
    """Write into `folder` a random Llama: hidden 32, 2 layers, 4 heads, at most 512 tokens, a chat template.

    The weights are always the same. The head size is 32, the smallest that vLLM's CPU attention takes.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TINY_TEXT, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=TINY_TEMPLATE,
        model_max_length=1024,
    )
    fast.save_pretrained(folder)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(fast),
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=32,
                max_position_embeddings=1024,
                tie_word_embeddings=True,
                bos_token_id=tokenizer.token_to_id("<|im_start|>"),
                eos_token_id=tokenizer.token_to_id("<|im_end|>"),
                pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
            )
        )
    model.save_pretrained(folder)
    return folder
