"""Where adapters go, how many parameters that trains, and that saved and folded ones compute the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, Lfm2Config, LlamaConfig, Qwen2Config

from memo_ray.config.presets import LORA_TARGETS
from memo_ray.config.training import LoraConfig, TrainingConfig
from memo_ray.errors import TrainingError
from memo_ray.training.lora import (
    adapt,
    adapter_state,
    folded_state,
    is_adapter,
    save_adapter,
    targets_of,
    trainable_parameters,
)
from memo_ray.training.shapes import SHAPES, config_of, empty_model

SHAPE: dict[str, Any] = {
    "vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2,
}  # fmt: skip
CONFIGS = {
    "llama": lambda: LlamaConfig(**SHAPE),
    "qwen2": lambda: Qwen2Config(**SHAPE),
    "gemma3_text": lambda: Gemma3TextConfig(**SHAPE, head_dim=8),
    "lfm2": lambda: Lfm2Config(**SHAPE, layer_types=["conv", "full_attention"], block_auto_adjust_ff_dim=False),
}
IDS = torch.arange(12)[None]


def model_of(name: str) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name]()).eval()


def trained(name: str, lora: LoraConfig) -> Any:
    """An adapted model whose adapters do something: fresh ones change nothing."""
    model = adapt(model_of(name), lora).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if is_adapter(parameter_name):
                parameter.normal_(std=0.3)
    return model


@pytest.mark.parametrize(
    ("model", "count"),
    # 9.2M and 68.8M are the paper's (Table 19); its 6.6M is 6.5M by the published shape of Gemma3-1B.
    [("qwen2.5-1.5b", 9_232_384), ("qwen2.5-14b", 68_812_800), ("gemma3-1b", 6_522_880), ("lfm2.5-1.2b", 5_554_176)],
)
def test_the_presets_train_as_many_parameters_as_the_paper(model: str, count: int) -> None:
    recipe = TrainingConfig.model_validate({"preset": f"{model}-lora"})
    assert recipe.lora
    assert trainable_parameters(adapt(empty_model(config_of(model)), recipe.lora)) == count


@pytest.mark.parametrize("model", SHAPES)
def test_published_shapes_have_the_size_in_their_name(model: str) -> None:
    size = float(model.rpartition("-")[2].removesuffix("b")) * 1e9
    counted = sum(parameter.numel() for parameter in empty_model(config_of(model)).parameters())
    assert counted == pytest.approx(size, rel=0.06)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_projection_of_an_architecture_gets_an_adapter(name: str) -> None:
    model = model_of(name)
    linear = {
        path for path, module in model.named_modules() if isinstance(module, torch.nn.Linear) and path != "lm_head"
    }
    assert set(targets_of(model, ())) == linear
    adapted = adapt(model, LoraConfig())
    assert all(parameter.requires_grad == is_adapter(path) for path, parameter in adapted.named_parameters())


def test_a_target_that_matches_nothing_names_what_there_is() -> None:
    with pytest.raises(
        TrainingError, match=r"training\.lora\.targets: o_proj, gate_proj: no linear layer .* in_proj, k_"
    ):
        targets_of(model_of("lfm2"), ("q_proj", "o_proj", "gate_proj"))
    with pytest.raises(TrainingError, match="lm_head: no linear layer"):
        targets_of(model_of("llama"), ("lm_head",))


def test_a_target_may_name_more_of_the_path() -> None:
    assert targets_of(model_of("lfm2"), ("conv.out_proj",)) == ["model.layers.0.conv.out_proj"]


def test_a_target_is_no_end_of_another_name() -> None:
    with pytest.raises(TrainingError, match="proj: no linear layer"):
        targets_of(model_of("llama"), ("proj",))


def test_fresh_adapters_change_nothing_and_are_the_same_for_a_seed() -> None:
    base, one, again, other = model_of("llama"), *(adapt(model_of("llama"), LoraConfig(), seed) for seed in (1, 1, 2))
    assert one.eval()(IDS).logits.equal(base(IDS).logits)
    names = [name for name, _ in one.named_parameters() if "lora_A" in name]
    assert all(one.get_parameter(name).equal(again.get_parameter(name)) for name in names)
    assert not one.get_parameter(names[0]).equal(other.get_parameter(names[0]))


@pytest.mark.parametrize("name", CONFIGS)
def test_folded_weights_compute_what_the_adapters_do(name: str) -> None:
    model = trained(name, LoraConfig(rank=4, alpha=6.0))
    before = model(IDS).logits
    plain = model_of(name)
    state = dict(folded_state(model))
    assert state.keys() == plain.state_dict().keys()
    plain.load_state_dict(state)
    torch.testing.assert_close(plain(IDS).logits, before, atol=1e-5, rtol=1e-5)
    assert model(IDS).logits.equal(before), "folding leaves the trained model as it is"


def test_saved_adapters_are_pefts_own(tmp_path: Path) -> None:
    from peft import PeftModel

    model = trained("qwen2", LoraConfig(rank=4))
    save_adapter(model, tmp_path, adapter_state(model))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    written = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (written["r"], written["bias"], written["task_type"]) == (4, "none", "CAUSAL_LM")
    loaded = PeftModel.from_pretrained(model_of("qwen2"), str(tmp_path)).eval()
    torch.testing.assert_close(loaded(input_ids=IDS).logits, model(IDS).logits, atol=1e-6, rtol=1e-6)


def test_every_architecture_of_the_table_is_known_to_transformers() -> None:
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    assert [name for name in LORA_TARGETS if name not in CONFIG_MAPPING] == []
