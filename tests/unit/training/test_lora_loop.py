"""Adapters through the whole loop: ZeRO-2 against plain AdamW on peft's own model, folders, resuming, curves."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from memo_ray.artifacts.place import Place
from memo_ray.config.training import LoraConfig, TrainingConfig
from memo_ray.training.checkpoints import History
from memo_ray.training.examples import Examples
from memo_ray.training.packing import steps_of_epoch
from memo_ray.training.schedule import learning_rate

TOLERANCE = 1e-5
Run = Callable[..., tuple[History, Place | None]]
Settings = Callable[..., TrainingConfig]
LORA = LoraConfig(rank=4, dropout=0.0)
"""Without dropout, whose masks depend on how examples are laid out."""


def plain_losses(config: TrainingConfig, base: Path, progress: Path) -> tuple[list[float], Any]:
    """The same steps in plain PyTorch on peft's own model: every example alone, gradients summed, AdamW."""
    from peft import LoraConfig as Peft
    from peft import get_peft_model

    from memo_ray.config.presets import LLAMA_TARGETS
    from memo_ray.training.deepspeed import parameter_groups

    assert config.lora
    examples = Examples.load(progress / "examples")
    torch.manual_seed(config.seed)
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32),
        Peft(
            r=config.lora.rank, lora_alpha=int(config.lora.alpha), lora_dropout=0.0, target_modules=list(LLAMA_TARGETS)
        ),
    )
    optimizer = torch.optim.AdamW(parameter_groups(model, config.weight_decay))
    plan = [
        step
        for epoch in range(config.epochs)
        for step in steps_of_epoch(len(examples), config.reflections_per_step, config.seed, epoch)
    ]
    losses = []
    for number, step in enumerate(plan):
        answers, total = sum(int(examples.answer_tokens[n]) for n in step), 0.0
        for n in step:
            ids = torch.tensor(examples.example(n).astype("int64"))[None]
            prompt = int(examples.prompts[n])
            logits = model(input_ids=ids).logits[0, prompt - 1 : -1]
            loss = torch.nn.functional.cross_entropy(logits, ids[0, prompt:], reduction="sum") / answers
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(number, len(plan), config.learning_rate, config.warmup_ratio)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(total)
    return losses, model


@pytest.mark.parametrize("changes", [{}, {"micro_batch_tokens": 64, "gradient_checkpointing": True}], ids=str)
def test_zero2_trains_adapters_as_plain_pytorch_does(
    changes: dict[str, Any], run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    config = settings(lora=LORA, **changes)
    history, _ = run(config, tiny_model, tmp_path)
    losses, model = plain_losses(config, tiny_model, tmp_path)
    assert [loss for epoch in history.epochs for loss in epoch.losses] == pytest.approx(losses, abs=TOLERANCE)
    assert losses[-1] < losses[0]
    folded = AutoModelForCausalLM.from_pretrained(tmp_path / "models" / "epoch-2", dtype=torch.float32)
    for name, parameter in model.merge_and_unload().named_parameters():
        torch.testing.assert_close(folded.get_parameter(name), parameter, atol=2e-5, rtol=0)


def test_an_epochs_folder_is_a_whole_model_with_the_adapters_beside_it(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    run(settings(lora=LORA, epochs=1), tiny_model, tmp_path)
    folder = tmp_path / "models" / "epoch-1"
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"model.safetensors", "tokenizer.json", "config.json", "adapter/adapter_model.safetensors"} <= files
    assert not [name for name in files if name.endswith((".bin", ".pt"))]
    ids = torch.arange(9)[None]
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, str(folder / "adapter")).eval()
    folded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.testing.assert_close(folded(ids).logits, adapted(input_ids=ids).logits, atol=1e-5, rtol=1e-5)


def test_adapters_alone_when_they_are_not_to_be_folded(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    run(settings(lora=LORA.model_copy(update={"folded": False}), epochs=1), tiny_model, tmp_path)
    folder = tmp_path / "models" / "epoch-1"
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"]


def test_resuming_adapters_ends_with_the_same_losses_and_state_without_the_base(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    config = settings(lora=LORA.model_copy(update={"dropout": 0.3}), epochs=3)
    whole, _ = run(config, tiny_model, tmp_path / "whole")
    cut, state = run(config, tiny_model, tmp_path / "cut", leave_after=6)
    assert state is not None and cut.steps == 6
    size = sum(path.stat().st_size for path in Path(state.url).rglob("*") if path.is_file())
    assert size < 1_000_000
    resumed, _ = run(config, tiny_model, tmp_path / "cut", resume=state)
    assert [epoch.losses for epoch in resumed.epochs] == [epoch.losses for epoch in whole.epochs]
    assert resumed.resumed_from == [6]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard would show: (step, value) by name, from the event files' records."""
    from tensorboardX.proto.event_pb2 import Event  # type: ignore[import-untyped]

    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.rglob("events.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + size])
            at += 16 + size
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_curves_are_there_for_every_step(run: Run, settings: Settings, tiny_model: Path, tmp_path: Path) -> None:
    history, _ = run(settings(), tiny_model, tmp_path)
    curves = scalars(tmp_path / "tracking")
    losses = [loss for epoch in history.epochs for loss in epoch.losses]
    assert [step for step, _ in curves["train/loss"]] == list(range(1, len(losses) + 1))
    assert [loss for _, loss in curves["train/loss"]] == pytest.approx(losses)
    assert curves["train/learning_rate"][-1][1] == pytest.approx(3e-3)
    assert all(norm > 0 for _, norm in curves["train/gradient_norm"])
    assert all(0 <= share < 1 for _, share in curves["train/pad_share"])
    assert all(rate > 0 for _, rate in curves["train/tokens_per_second"])
    assert [loss for _, loss in curves["epoch/loss"]] == pytest.approx([epoch.loss for epoch in history.epochs])
