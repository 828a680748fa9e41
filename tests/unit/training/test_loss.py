"""The fused loss against the plain one: values, gradients, and that the logits are never all there."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlamaConfig, LlamaForCausalLM

from memo_ray.training.attention import Attention
from memo_ray.training.batches import NO_TARGET
from memo_ray.training.loading import head_is_linear
from memo_ray.training.loss import LIGER_LOGITS_AT_ONCE, _fewer_chunks, linear_cross_entropy

TOKENS, SIZE, WORDS = 37, 16, 211


def case(dtype: torch.dtype = torch.float32, bias: bool = False) -> dict[str, Any]:
    torch.manual_seed(3)
    targets = torch.randint(0, WORDS, (TOKENS,))
    targets[::5] = NO_TARGET
    return {
        "hidden": torch.randn(TOKENS, SIZE, dtype=dtype, requires_grad=True),
        "weight": torch.randn(WORDS, SIZE, dtype=dtype, requires_grad=True),
        "bias": torch.randn(WORDS, dtype=dtype, requires_grad=True) if bias else None,
        "targets": targets,
    }


def plain(case: dict[str, Any], softcap: float | None) -> torch.Tensor:
    logits = torch.nn.functional.linear(case["hidden"], case["weight"], case["bias"]).float()
    if softcap:
        logits = softcap * torch.tanh(logits / softcap)
    return torch.nn.functional.cross_entropy(logits, case["targets"], reduction="sum")


def gradients(loss: torch.Tensor, case: dict[str, Any]) -> list[torch.Tensor]:
    wanted = [case[name] for name in ("hidden", "weight", "bias") if case[name] is not None]
    return list(torch.autograd.grad(loss * 0.37, wanted))


@pytest.mark.parametrize("at_once", [TOKENS * WORDS, TOKENS * 64, 1], ids=["all", "blocks", "columns"])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize("bias", [False, True])
def test_it_is_the_plain_loss_with_its_gradients(at_once: int, softcap: float | None, bias: bool) -> None:
    given = case(bias=bias)
    fused, wanted = linear_cross_entropy(**given, softcap=softcap, at_once=at_once), plain(given, softcap)
    torch.testing.assert_close(fused, wanted, atol=0, rtol=1e-5)
    for one, other in zip(gradients(fused, given), gradients(wanted, given), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_in_bf16_blocks_cost_no_precision() -> None:
    given = case(torch.bfloat16)
    whole, blocks = (
        gradients(linear_cross_entropy(**given, at_once=size), given) for size in (TOKENS * WORDS, TOKENS * 16)
    )
    assert blocks[1].equal(whole[1]), "each row of the head's gradient is one product"
    torch.testing.assert_close(blocks[0], whole[0], rtol=2**-6, atol=2**-6)


def test_numbers_beyond_exp_stay_finite() -> None:
    given = case()
    given["hidden"] = (given["hidden"].detach() * 1e4).requires_grad_()
    fused, wanted = linear_cross_entropy(**given, at_once=64), plain(given, None)
    torch.testing.assert_close(fused, wanted, rtol=1e-5, atol=0)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(fused, given))


def test_without_tokens_the_loss_is_zero_and_so_are_the_gradients() -> None:
    given = case()
    given["hidden"], given["targets"] = torch.zeros(0, SIZE, requires_grad=True), given["targets"][:0]
    loss = linear_cross_entropy(**given)
    assert loss.item() == 0
    assert not gradients(loss, given)[1].any()


def test_a_frozen_head_gets_no_gradient() -> None:
    given = case()
    wanted = gradients(plain(given, None), given)[0]
    given["weight"] = given["weight"].detach()
    loss = linear_cross_entropy(**given, at_once=TOKENS * 16) * 0.37
    loss.backward()
    torch.testing.assert_close(given["hidden"].grad, wanted, atol=1e-5, rtol=1e-5)
    assert given["weight"].grad is None


class Largest(TorchDispatchMode):
    """Elements of the largest tensor that any operator makes."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **kwargs or {})
        for tensor in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(tensor, torch.Tensor):
                self.elements = max(self.elements, tensor.numel())
        return made


def test_the_logits_are_never_all_there() -> None:
    given = case()
    with Largest() as largest:
        linear_cross_entropy(**given, at_once=TOKENS * 8).backward()
    assert largest.elements < TOKENS * WORDS
    assert largest.elements == WORDS * SIZE, "the head's own gradient is the largest"


def test_a_head_that_does_more_than_a_product_is_found_out() -> None:
    class Scaled(LlamaForCausalLM):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            out: Any = super().forward(*args, **kwargs)
            out.logits = out.logits * 0.5
            return out

    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.5,
    )  # fmt: skip
    assert head_is_linear(LlamaForCausalLM(shape), Attention("eager"))
    assert not head_is_linear(Scaled(shape), Attention("eager"))


def test_ligers_loss_is_asked_for_few_large_chunks() -> None:
    def newer(chunk_mem_const: int = 1) -> None: ...

    def older() -> None: ...

    # Liger makes about vocabulary / (hidden size * constant) chunks of the tokens.
    (constant,) = _fewer_chunks(newer, tokens=8192, vocabulary=151_936, size=1536).values()
    assert constant * 8192 * 1536 <= LIGER_LOGITS_AT_ONCE < (constant + 1) * 8192 * 1536
    assert _fewer_chunks(newer, tokens=10**9, vocabulary=151_936, size=1536) == {"chunk_mem_const": 1}
    assert _fewer_chunks(older, tokens=8192, vocabulary=151_936, size=1536) == {}
