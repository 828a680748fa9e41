"""The paper's recipes, as a user writes them."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from memo_ray.config.loading import validate
from memo_ray.config.presets import PRESETS, TABLE_11, DatasetName, PresetName
from memo_ray.config.run import RunConfig
from memo_ray.config.training import TrainingConfig
from memo_ray.errors import ConfigError
from memo_ray.pipeline import semantic


def training(**keys: Any) -> TrainingConfig:
    """The training section of a run that is written with these keys."""
    return validate({"name": "x", "corpora": [{"name": "a", "paths": ["d"]}], "training": keys}, "run.yaml").training


@pytest.mark.parametrize("name", get_args(PresetName))
def test_every_recipe_is_the_papers(name: str) -> None:
    config = training(preset=name)
    assert (config.epochs, config.warmup_ratio, config.weight_decay, config.max_grad_norm) == (3, 0.05, 0.01, 1.0)
    assert (config.max_sequence_length, config.precision, config.gradient_checkpointing) == (8096, "bf16", True)
    assert config.attention == ("eager" if name.startswith("gemma3") else "auto")
    assert config.base != "embedded"
    if name.endswith("-lora"):
        rank = 16 if "14b" in name else 8
        assert config.lora
        assert (config.lora.rank, config.lora.alpha, config.lora.dropout) == (rank, 2.0 * rank, 0.05)
        assert config.learning_rate == 2e-4
    else:
        assert (config.lora, config.learning_rate) == (None, 2e-5)


def test_every_preset_has_a_row() -> None:
    assert set(PRESETS) == set(get_args(PresetName))
    assert set(TABLE_11) == set(get_args(DatasetName))


def test_what_is_written_wins_over_the_preset() -> None:
    config = training(preset="qwen2.5-14b-lora", epochs=1, lora={"rank": 4, "targets": ["q_proj"]}, base="mine")
    assert (config.epochs, config.base) == (1, "mine")
    assert config.lora
    assert (config.lora.rank, config.lora.alpha, config.lora.targets) == (4, 32.0, ("q_proj",))


@pytest.mark.parametrize("dataset", TABLE_11)
def test_the_effective_batch_is_the_datasets(dataset: str) -> None:
    assert training(preset_dataset=dataset).reflections_per_step == TABLE_11[dataset]
    assert training(preset_dataset=dataset, reflections_per_step=7).reflections_per_step == 7


def test_a_preset_and_the_same_keys_written_out_are_one_recipe() -> None:
    config = training(preset="gemma3-1b-lora")
    written = training(**config.model_dump(mode="json", exclude={"preset"}))
    assert semantic("training", config) == semantic("training", written)


def test_a_run_with_a_preset_comes_back_from_json() -> None:
    run = validate(
        {"name": "x", "corpora": [{"name": "a", "paths": ["d"]}], "training": {"preset": "lfm2.5-1.2b-lora"}}, "f"
    )
    assert RunConfig.model_validate_json(run.model_dump_json()) == run


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"preset": "qwen"}, r"training\.preset: .*'qwen2\.5-1\.5b-full'.*got \"qwen\""),
        ({"lora": {"rnk": 2}}, r"training\.lora\.rnk: unknown key; did you mean rank\?"),
        ({"lora": {"rank": 0}}, r"training\.lora\.rank: .*greater than or equal to 1"),
        ({"study": {"times": 0}}, r"training\.study\.times: .*greater than or equal to 1"),
        (
            {"gradient_checkpointing": False, "checkpoint_keep": "attention"},
            r"checkpoint_keep: attention means nothing with gradient_checkpointing: false",
        ),
        ({"compile": True, "checkpoint_keep": "attention"}, r"checkpoint_keep: attention cannot be combined"),
    ],
)
def test_mistakes_are_named(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        training(**keys)
