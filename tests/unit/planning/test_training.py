"""What a training takes of a GPU: for `memo plan`, and before a run's first stage."""

from __future__ import annotations

import json
from pathlib import Path

import huggingface_hub
import pytest

from memo_ray import machine
from memo_ray.artifacts.place import open_place
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.run import RunConfig
from memo_ray.config.training import TrainingConfig
from memo_ray.console import Console
from memo_ray.errors import EnvironmentProblem
from memo_ray.planning.training import as_json, as_text, check_fit, training_fit
from memo_ray.training.shapes import config_of
from memo_ray.workspace import Workspace

MIB = 2**20


def run_of(folder: Path, base: Path) -> Workspace:
    config = RunConfig(
        name="r", root=str(folder), corpora=(CorpusConfig(name="law", paths=("d",)),),
        training=TrainingConfig(base=str(base)),
    )  # fmt: skip
    return Workspace(config, Console())


def test_the_shape_comes_from_a_folder_and_from_s3(tiny_model: Path, bucket: str) -> None:
    open_place(bucket).put("tiny/config.json", (tiny_model / "config.json").read_bytes())
    here = training_fit(TrainingConfig(base=str(tiny_model)))
    assert here is not None and here.fits
    there = training_fit(TrainingConfig(base=f"{bucket}/tiny"))
    assert there == here
    assert training_fit(TrainingConfig(base="nobody/has-this-model")) is None


def test_a_presets_base_needs_no_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))  # as where it was never fetched
    for preset, billions in (("qwen2.5-14b-lora", 14.8), ("gemma3-1b-full", 1.0), ("lfm2.5-1.2b-full", 1.2)):
        found = training_fit(TrainingConfig.model_validate({"preset": preset}))
        assert found is not None and found.footprint.weights / 2e9 == pytest.approx(billions, rel=0.05)


def test_lines_for_people_and_programs(tiny_model: Path) -> None:
    config = TrainingConfig(base=str(tiny_model))
    found = training_fit(config)
    assert "with --gpu-memory GIB, whether it fits" in as_text(found, None)
    assert "not known" in as_text(None, None) and as_json(None) is None
    small = training_fit(config, 10 * MIB)
    assert small is not None and not small.fits and "does not fit into" in as_text(small, 10 * MIB)
    data = as_json(small)
    assert data is not None and data["total"] == small.footprint.total and data["fits"] is False
    json.dumps(data)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A folder with the shape of Qwen2.5-1.5B, and no weights."""
    config_of("qwen2.5-1.5b").save_pretrained(tmp_path / "large")
    return tmp_path / "large"


def test_a_run_whose_weights_cannot_fit_does_not_start(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    run = run_of(tmp_path, large)
    found = training_fit(run.config.training)
    assert found is not None and found.footprint.total > found.certain > 20 * 2**30

    def look(memory: int) -> str:
        monkeypatch.setattr(machine, "gpus", lambda *_: [f"NVIDIA X, {memory // MIB} MiB"] if memory else [])
        check_fit(run)
        return capsys.readouterr().err.replace("\n", " ")

    assert look(0) == look(2 * found.footprint.total) == ""
    assert "does not fit into" in look(int(found.certain * 1.08))
    with pytest.raises(EnvironmentProblem, match=r"training: .* GiB a GPU .* does not fit into .*; set "):
        look(found.certain // 2)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert look(MIB) == ""
