"""Bytes by shape: the known sums of ZeRO-2, and remedies that fit when they are tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memo_ray.artifacts.place import open_place
from memo_ray.config.training import LoraConfig, TrainingConfig
from memo_ray.training.checkpoints import Epoch
from memo_ray.training.fit import Shape, fit, footprint, shape_of
from memo_ray.training.job import Job
from memo_ray.training.preparation import prepare
from memo_ray.training.shapes import config_of
from memo_ray.training.zero import STEP, part_of
from tests.unit.training.conftest import reflections

GIB = 2**30
H200, A100 = 141 * 10**9, 80 * 10**9


@pytest.fixture(scope="module")
def small() -> Shape:
    return shape_of(config_of("qwen2.5-1.5b"), None)


@pytest.fixture(scope="module")
def large() -> Shape:
    return shape_of(config_of("qwen2.5-14b"), None)


def test_zero2_shares_all_but_the_weights(large: Shape) -> None:
    one, four = (footprint(large, TrainingConfig(), workers) for workers in (1, 4))
    # 2 bytes of weights, 4 of gradient sums, 12 of master weights and moments a parameter.
    assert one.weights == four.weights == 2 * large.parameters
    assert (one.gradients, one.optimizer) == (4 * large.parameters, 12 * large.parameters)
    assert four.optimizer == pytest.approx(one.optimizer / 4, rel=1e-6)
    assert one.optimizer + one.weights + one.gradients > 236e9, "14B with fp32 Adam is beyond one H200"


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_the_optimiser_holds_what_is_foretold(
    precision: Any, process_group: None, tiny_model: Path, tmp_path: Path
) -> None:
    from memo_ray.training.loop import Worker

    config = TrainingConfig(precision=precision, max_sequence_length=256)
    place = open_place(tmp_path)
    with place.storing("examples") as examples:
        pad = prepare(config, reflections(), tiny_model, examples)["pad"]
    worker = Worker(Job(config, tiny_model, place, pad), None)
    step = list(range(4))
    worker.take_step(step, 0, sum(worker.answer_tokens[index] for index in step), Epoch())
    tensors = [tensor for name, tensor in part_of(worker.engine).items() if not name.endswith(STEP)]
    weights = {parameter.untyped_storage().data_ptr() for parameter in worker.loaded.model.parameters()}
    assert len(tensors) == 2 * 3, "master weights and two moments, of decayed parameters and of others"
    assert not weights & {tensor.untyped_storage().data_ptr() for tensor in tensors}
    shape = shape_of(worker.loaded.model.config, None)
    assert footprint(shape, config, 1).optimizer == sum(tensor.nbytes for tensor in tensors)


def test_adapters_leave_the_weights_and_little_else(large: Shape) -> None:
    adapted = shape_of(config_of("qwen2.5-14b"), LoraConfig(rank=16))
    found = footprint(adapted, TrainingConfig(lora=LoraConfig(rank=16)), 1)
    assert adapted.trained == 68_812_800
    assert adapted.parameters == large.parameters
    assert found.optimizer == 12 * adapted.trained


def test_the_feed_forward_is_as_wide_as_it_is_built() -> None:
    assert shape_of(config_of("lfm2.5-1.2b"), None).inner == 8192


@pytest.mark.parametrize(
    ("changes", "less"),
    [
        ({"gradient_checkpointing": False}, {}),
        ({"checkpoint_keep": "products"}, {"checkpoint_keep": "attention"}),
        ({"checkpoint_keep": "attention"}, {}),
        ({}, {"micro_batch_tokens": 4096}),
        ({"precision": "fp32"}, {}),
    ],
    ids=str,
)
def test_settings_that_keep_more_take_more(changes: dict[str, Any], less: dict[str, Any], small: Shape) -> None:
    assert footprint(small, TrainingConfig(**changes), 1).total > footprint(small, TrainingConfig(**less), 1).total


def test_the_logits_do_not_grow_with_the_micro_batch(small: Shape) -> None:
    few, many = (footprint(small, TrainingConfig(micro_batch_tokens=n), 1).logits for n in (8192, 32_768))
    assert many < 1.3 * few
    assert many < 2 * GIB < 32_768 * 0.6 * small.vocabulary * 4


def test_what_fits_is_said_with_its_parts() -> None:
    found = fit(config_of("qwen2.5-1.5b"), TrainingConfig(), H200)
    assert found.fits and found.remedies == ()
    assert "GiB a GPU (weights 2.9, gradients 5.8, optimizer 17.3" in str(found)


@pytest.mark.parametrize(
    ("model", "config", "memory"),
    [
        ("qwen2.5-14b", TrainingConfig(), H200),
        ("qwen2.5-14b", TrainingConfig(workers=4, gradient_checkpointing=False), H200),
        ("qwen2.5-1.5b", TrainingConfig(gradient_checkpointing=False, micro_batch_tokens=65_536), A100),
    ],
)
def test_every_remedy_fits(model: str, config: TrainingConfig, memory: int) -> None:
    found = fit(config_of(model), config, memory)
    assert not found.fits
    assert found.remedies
    for remedy in found.remedies:
        changes = dict(part.split(": ") for part in remedy.split(" with "))
        values: dict[str, Any] = {
            key: LoraConfig() if key == "lora" else value == "true" if value in ("true", "false") else int(value)
            for key, value in changes.items()
        }
        assert fit(config_of(model), config.model_copy(update=values), memory).fits, remedy
    assert f"set {found.remedies[0]}" in str(found)


def test_what_never_fits_says_so() -> None:
    assert str(fit(config_of("qwen2.5-14b"), TrainingConfig(), 8 * 10**9)).endswith("take a smaller base")
