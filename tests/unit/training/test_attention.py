"""Packed examples are computed as if each were alone, and a model that mixes them is found out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    Lfm2Config,
    LlamaConfig,
    MambaConfig,
    Qwen2Config,
)

from memo_ray.errors import TrainingError
from memo_ray.training.attention import (
    CPU_ROW_TOKENS,
    EAGER_ROW_TOKENS,
    Attention,
    choose_attention,
    keeps_examples_apart,
)
from memo_ray.training.batches import FLAT_STEP, make_batch
from memo_ray.training.blocks import BLOCKS, places_of, register_blocks
from memo_ray.training.convolutions import separate_convolutions
from memo_ray.training.examples import Examples
from memo_ray.training.loss import AnswerLoss
from memo_ray.training.packing import MicroBatch

SHAPE: dict[str, Any] = {
    "vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
CPU = torch.device("cpu")
CONFIGS = {
    "llama": lambda: LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "qwen2": lambda: Qwen2Config(**SHAPE),
    # A window shorter than an example, so that windows and packing are seen together.
    "gemma3": lambda: Gemma3TextConfig(
        **SHAPE, head_dim=8, sliding_window=6, layer_types=["sliding_attention", "full_attention"]
    ),
    "gemma2": lambda: Gemma2Config(**SHAPE, head_dim=8, sliding_window=6, final_logit_softcapping=2.0),
    "lfm2": lambda: Lfm2Config(
        **SHAPE, layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False, conv_bias=True
    ),
}
MIXING = {
    "mamba": lambda: MambaConfig(vocab_size=128, hidden_size=32, num_hidden_layers=2, state_size=4),
}


def model_of(config: Any, attention: str | None = None) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).train()


def examples_of(lengths: list[int]) -> Examples:
    random = np.random.default_rng(1)
    return Examples(
        random.integers(3, 128, sum(lengths)).astype(np.int32),
        np.cumsum([0, *lengths]).astype(np.int64),
        np.asarray([length // 2 for length in lengths], dtype=np.int32),
    )


def loss_and_gradients(
    model: Any, examples: Examples, rows: MicroBatch, segments: bool = False, flat: bool = False
) -> tuple[float, dict[str, torch.Tensor]]:
    model.zero_grad()
    loss = AnswerLoss(model)(make_batch(rows, examples, 0, flat=flat, device=CPU, segments=segments))
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("attention", ["eager", "sdpa", BLOCKS])
@pytest.mark.parametrize("name", CONFIGS)
def test_packed_padded_and_alone_have_the_same_loss_and_gradients(name: str, attention: str) -> None:
    if name == "gemma2" and attention != "eager":
        pytest.skip("its scores are capped, which only eager attention does")
    register_blocks()
    flat = attention == BLOCKS
    model = model_of(CONFIGS[name](), "eager" if flat else attention)
    examples = examples_of([9, 17, 12, 20, 11])
    alone = [plain_loss_and_gradients(model, examples, n) for n in range(5)]
    model.set_attn_implementation(attention)
    loss = sum(one for one, _ in alone)
    gradients = {key: sum(grads[key] for _, grads in alone) for key in alone[0][1]}
    segments = separate_convolutions(model)
    for rows in ([[0, 1, 2, 3, 4]], [[3, 0], [1, 4], [2]], [[n] for n in range(5)]):
        found, grads = loss_and_gradients(model, examples, rows, segments, flat)
        assert found == pytest.approx(loss, rel=1e-5)
        for key, gradient in gradients.items():
            torch.testing.assert_close(grads[key], gradient, atol=1e-5, rtol=1e-5)


def plain_loss_and_gradients(model: Any, examples: Examples, index: int) -> tuple[float, dict[str, torch.Tensor]]:
    """One example alone, without anything of ours: the model's own logits and PyTorch's cross entropy."""
    model.zero_grad()
    tokens, prompt = torch.from_numpy(examples.example(index).astype("int64")), int(examples.prompts[index])
    logits = model(input_ids=tokens[None]).logits[0, prompt - 1 : -1]
    loss = torch.nn.functional.cross_entropy(logits, tokens[prompt:], reduction="sum")
    loss.backward()
    return loss.item(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_positions_restart_and_sequences_are_numbered() -> None:
    batch = make_batch([[0, 1], [2]], examples_of([3, 4, 5]), 0, flat=False, device=CPU, segments=True)
    assert batch.inputs["position_ids"][0].tolist() == [0, 1, 2, 0, 1, 2, 3, *range(9)]
    assert batch.inputs["seq_idx"][0].tolist() == [0] * 3 + [1] * 4 + [2] * 9
    assert batch.inputs["seq_idx"].dtype == torch.int32, "what CUDA's causal_conv1d takes"


def test_examples_of_a_flat_row_lie_in_blocks() -> None:
    tokens, places = places_of([3, 1], 6, 4)
    assert tokens.tolist() == [[0, 1, 2, 3], [3, 4, 5, 5]]
    assert places.tolist() == [0, 1, 2, 4]
    batch = make_batch([[0, 1], [2]], examples_of([3, 4, 5]), 0, flat=True, device=CPU)
    assert batch.inputs["input_ids"].shape == (1, FLAT_STEP) and (batch.tokens, batch.padded) == (12, FLAT_STEP)
    assert batch.inputs["position_ids"][0, :12].tolist() == [0, 1, 2, 0, 1, 2, 3, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("how", ["eager", BLOCKS])
@pytest.mark.parametrize("name", CONFIGS)
def test_attention_models_may_be_packed(name: str, how: str) -> None:
    if name == "gemma2" and how == BLOCKS:
        pytest.skip("its scores are capped, which only eager attention does")
    register_blocks()
    model = model_of(CONFIGS[name](), how)
    attention = Attention(how, flat=how == BLOCKS, segments=separate_convolutions(model))
    assert keeps_examples_apart(model, attention)
    assert keeps_examples_apart(model.to(torch.bfloat16), attention)
    assert model.training, "the probe must leave the model as it was"


@pytest.mark.parametrize("name", MIXING)
def test_recurrent_layers_are_found_out(name: str) -> None:
    assert not keeps_examples_apart(model_of(MIXING[name]()), Attention(None))


def test_a_convolution_that_is_not_told_the_borders_is_found_out() -> None:
    assert not keeps_examples_apart(model_of(CONFIGS["lfm2"]()), Attention(None, segments=True))


def test_a_micro_batch_without_examples_has_a_zero_loss_with_gradients() -> None:
    model = model_of(CONFIGS["llama"]())
    loss, gradients = loss_and_gradients(model, examples_of([9]), [])
    assert loss == 0.0
    assert len(gradients) == len(list(model.parameters()))
    assert all(not gradient.any() for gradient in gradients.values())


@pytest.mark.parametrize(
    ("longest", "attention"),
    [
        (CPU_ROW_TOKENS, Attention(BLOCKS, flat=True, row_tokens=CPU_ROW_TOKENS)),
        (CPU_ROW_TOKENS + 1, Attention("eager", row_tokens=CPU_ROW_TOKENS)),
        (EAGER_ROW_TOKENS + 1, Attention(None, row_tokens=CPU_ROW_TOKENS)),
    ],
)
def test_on_a_cpu_rows_are_short(longest: int, attention: Attention) -> None:
    assert choose_attention(CONFIGS["llama"](), CPU, "bf16", longest) == attention


def test_capped_scores_need_eager_attention() -> None:
    assert choose_attention(CONFIGS["gemma2"](), CPU, "bf16", 4000).name == "eager"


@pytest.mark.parametrize("wanted", ["eager", "sdpa"])
def test_a_recipe_may_ask_for_its_attention(wanted: str) -> None:
    assert choose_attention(CONFIGS["gemma3"](), CPU, "bf16", 4000, wanted).name == wanted


def test_flash_attention_that_cannot_be_had_is_an_error() -> None:
    with pytest.raises(TrainingError, match=r"training\.attention: flash_attention_2 needs a GPU.*set attention: auto"):
        choose_attention(CONFIGS["llama"](), CPU, "bf16", 60, "flash_attention_2")
