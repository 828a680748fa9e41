"""The loop without Ray: one process, gloo, DeepSpeed ZeRO-2, against plain PyTorch on the same steps."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memo_ray.artifacts.place import Place
from memo_ray.config.training import TrainingConfig
from memo_ray.errors import TrainingError
from memo_ray.training.checkpoints import History

TOLERANCE = 1e-5
Run = Callable[..., tuple[History, Place | None]]
Settings = Callable[..., TrainingConfig]


def plain_losses(config: TrainingConfig, base: Path, progress: Path) -> tuple[list[float], Any]:
    """The same steps in plain PyTorch: every example alone, gradients summed, AdamW."""
    import torch
    from transformers import AutoModelForCausalLM

    from memo_ray.training.deepspeed import parameter_groups
    from memo_ray.training.examples import Examples
    from memo_ray.training.packing import steps_of_epoch
    from memo_ray.training.schedule import learning_rate

    examples = Examples.load(progress / "examples")
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    optimizer = torch.optim.AdamW(parameter_groups(model, config.weight_decay))
    plan = [
        s
        for e in range(config.epochs)
        for s in steps_of_epoch(len(examples), config.reflections_per_step, config.seed, e)
    ]
    losses = []
    for number, step in enumerate(plan):
        answers = sum(int(examples.answer_tokens[n]) for n in step)
        total = 0.0
        for n in step:
            ids = torch.tensor(examples.example(n).astype("int64"))[None]
            labels = ids.clone()
            labels[:, : int(examples.prompts[n])] = -100
            logits = model(input_ids=ids).logits[0, :-1]
            loss = torch.nn.functional.cross_entropy(logits, labels[0, 1:], reduction="sum") / answers
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(number, len(plan), config.learning_rate, config.warmup_ratio)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    return losses, model


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"packing": False},
        {"micro_batch_tokens": 64},
        {"micro_batch_tokens": 64, "packing": False},
        {"gradient_checkpointing": True},
    ],
    ids=str,
)
def test_zero2_takes_the_same_steps_as_plain_pytorch(
    run: Run, settings: Settings, changes: dict[str, Any], tiny_model: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    config = settings(**changes)
    history, _ = run(config, tiny_model, tmp_path)
    losses, model = plain_losses(config, tiny_model, tmp_path)
    assert [loss for epoch in history.epochs for loss in epoch.losses] == pytest.approx(losses, abs=TOLERANCE)
    trained = AutoModelForCausalLM.from_pretrained(tmp_path / "models" / "epoch-2", dtype=torch.float32)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(trained.get_parameter(name), parameter, atol=2e-5, rtol=0)


def test_a_loss_that_is_no_number_names_the_remedy(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(tiny_model, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["model.norm.weight"][0] = math.nan
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    told = r"the 4 steps up to step 4 .*every one of its reflections before anything was learnt.*another training\.base"
    with pytest.raises(TrainingError, match=told):
        run(settings(), broken, tmp_path)


def test_weights_that_run_away_are_not_the_bases_fault(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"the (loss is|gradients) .*; lower learning_rate") as raised:
        run(settings(learning_rate=1e30, max_grad_norm=1e30), tiny_model, tmp_path)
    assert "training.base" not in str(raised.value)


def test_bf16_learns_as_fp32_does(run: Run, settings: Settings, tiny_model: Path, tmp_path: Path) -> None:
    single, _ = run(settings(epochs=4), tiny_model, tmp_path / "fp32")
    half, _ = run(settings(epochs=4, precision="bf16"), tiny_model, tmp_path / "bf16")
    assert half.epochs[-1].loss < 0.9 * half.epochs[0].loss
    assert half.epochs[-1].loss == pytest.approx(single.epochs[-1].loss, rel=0.02)
    assert sum(epoch.skipped_steps for epoch in half.epochs) == 0


def test_packing_leaves_less_padding_and_counts_the_same_tokens(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    packed, _ = run(settings(), tiny_model, tmp_path / "packed")
    padded, _ = run(settings(packing=False), tiny_model, tmp_path / "padded")
    for one, other in zip(packed.epochs, padded.epochs, strict=True):
        assert (one.tokens, one.answer_tokens) == (other.tokens, other.answer_tokens)
        assert one.tokens <= one.padded_tokens < other.padded_tokens


def lfm2_base(tiny_model: Path, folder: Path) -> Path:
    """A folder with a random LFM2 beside the tiny model's tokenizer."""
    from transformers import AutoConfig, Lfm2Config, Lfm2ForCausalLM

    base = shutil.copytree(tiny_model, folder / "lfm2")
    shape = AutoConfig.from_pretrained(tiny_model)
    Lfm2ForCausalLM(
        Lfm2Config(
            vocab_size=shape.vocab_size, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, layer_types=["conv", "full_attention"],
            max_position_embeddings=1024, eos_token_id=shape.eos_token_id,
        )
    ).save_pretrained(base)  # fmt: skip
    return base


def test_a_model_with_short_convolutions_is_packed_and_exact(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    base = lfm2_base(tiny_model, tmp_path)
    history, _ = run(settings(epochs=1), base, tmp_path)
    assert history.packed
    assert history.epochs[0].tokens / history.epochs[0].padded_tokens > 0.8
    losses, _ = plain_losses(settings(epochs=1), base, tmp_path)
    assert history.epochs[0].losses == pytest.approx(losses, abs=TOLERANCE)


def test_a_model_that_mixes_examples_is_trained_padded(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without what keeps its convolutions apart, as a recurrent model of a class that is not known would be.
    monkeypatch.setattr("memo_ray.training.convolutions.CONVOLUTIONS", ())
    base = lfm2_base(tiny_model, tmp_path)
    history, _ = run(settings(epochs=1), base, tmp_path)
    assert not history.packed
    losses, _ = plain_losses(settings(epochs=1), base, tmp_path)
    assert history.epochs[0].losses == pytest.approx(losses, abs=TOLERANCE)
