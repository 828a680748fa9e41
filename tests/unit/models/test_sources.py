"""Where a model's name leads, and the line that says why it leads nowhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from memo_ray.errors import ConfigError
from memo_ray.models.sources import resolve


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMO_CACHE", str(tmp_path / "cache"))


def test_a_folder_has_a_digest_of_its_content(tiny_model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    first = resolve(str(tiny_model)).digest
    assert first == resolve(str(copy)).digest == resolve(str(copy)).digest
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"rope_theta": 5.0}))
    assert resolve(str(copy)).digest != first


@pytest.mark.parametrize(
    ("removed", "said"),
    [
        ("config.json", "holds no config.json"),
        ("model.safetensors", "no .safetensors weights"),
        ("tokenizer.json", "holds no tokenizer"),
    ],
)
def test_an_incomplete_folder_is_named(tiny_model: Path, tmp_path: Path, removed: str, said: str) -> None:
    copy = shutil.copytree(tiny_model, tmp_path / "copy")
    (copy / removed).unlink()
    with pytest.raises(ConfigError, match=said) as caught:
        resolve(str(copy), key="training.base")
    assert str(caught.value).startswith(f"training.base: {copy}")


@pytest.mark.parametrize("name", ["/no/such/folder", "./models/none", "just-a-word"])
def test_what_is_neither_folder_nor_id(name: str) -> None:
    with pytest.raises(ConfigError, match="no such folder; give a model folder, a Hugging Face id"):
        resolve(name)


def test_an_id_that_cannot_be_had_says_what_to_check() -> None:
    with pytest.raises(ConfigError, match=r"cannot be had from the hub .* check the name, the network and HF_TOKEN"):
        resolve("no-such-owner/no-such-model")
