"""Settings become engine arguments; no engine starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from memo_ray.config.models import VllmModel, Yarn
from memo_ray.models.vllm import engine_arguments


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 32768, "rope_theta": 1e6}))
    return tmp_path


def test_yarn_reaches_131072_tokens_and_keeps_the_models_base(folder: Path) -> None:
    arguments = engine_arguments(VllmModel(engine="vllm", yarn=Yarn()), folder, cpu=False)
    assert arguments["max_model_len"] == 131_072
    assert arguments["hf_overrides"] == {
        "rope_parameters": {
            "rope_type": "yarn",
            "rope_theta": 1e6,
            "factor": 4.0,
            "original_max_position_embeddings": 32768,
        },
        "max_position_embeddings": 131_072,
    }
    shorter = VllmModel(engine="vllm", yarn=Yarn(), max_model_len=65_536)
    assert engine_arguments(shorter, folder, cpu=False)["max_model_len"] == 65_536


def test_the_base_is_also_found_where_newer_models_have_it(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}}))
    arguments = engine_arguments(VllmModel(engine="vllm", yarn=Yarn(factor=2.0)), folder, cpu=False)
    assert arguments["hf_overrides"]["rope_parameters"]["rope_theta"] == 5e5
    assert arguments["max_model_len"] == 65_536


def test_a_length_out_of_yarns_reach_is_refused() -> None:
    with pytest.raises(ValidationError, match="raise yarn"):
        VllmModel(engine="vllm", yarn=Yarn(factor=2.0), max_model_len=131_072)


def test_fp8_and_parallelism(folder: Path) -> None:
    config = VllmModel(
        engine="vllm",
        quantization="fp8",
        kv_cache_dtype="fp8",
        tensor_parallel_size=4,
        data_parallel_size=2,
        replicas=3,
    )
    arguments = engine_arguments(config, folder, cpu=False)
    wanted = {"quantization": "fp8", "kv_cache_dtype": "fp8", "tensor_parallel_size": 4, "data_parallel_size": 2}
    assert {key: arguments[key] for key in wanted} == wanted
    assert "replicas" not in arguments and config.gpus == 8


def test_the_defaults_leave_the_model_as_it_is(folder: Path) -> None:
    arguments = engine_arguments(VllmModel(engine="vllm"), folder, cpu=False)
    assert not {"quantization", "hf_overrides", "max_model_len"} & set(arguments)
    assert arguments["kv_cache_dtype"] == "auto" and arguments["enable_prefix_caching"] is True


def test_explicit_arguments_win(folder: Path) -> None:
    config = VllmModel(engine="vllm", yarn=Yarn(), engine_args={"hf_overrides": {}, "seed": 3})
    arguments = engine_arguments(config, folder, cpu=True)
    assert (arguments["hf_overrides"], arguments["seed"]) == ({}, 3)


@pytest.mark.parametrize("cpu", [True, False])
def test_an_engine_reads_safetensors_and_runs_no_code_of_a_folder(folder: Path, cpu: bool) -> None:
    arguments = engine_arguments(VllmModel(engine="vllm"), folder, cpu=cpu)
    assert (arguments["load_format"], arguments["trust_remote_code"]) == ("safetensors", False)
