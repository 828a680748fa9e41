"""Damaged files are told in one line that names them, and no file outside of a memory's folder is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memo_ray.errors import MergeError
from memo_ray.merging.checks import check
from tests.unit.merging.tiny import make_base, make_memories, read

NORM = "model.norm.weight"


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    make_memories(make_base(tiny_model, tmp_path / "base"), tmp_path, 2)
    return tmp_path


def header(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        file = folder / "a" / "model.safetensors"
        data = file.read_bytes()
        length = int.from_bytes(data[:8], "little")
        text = json.dumps(change(json.loads(data[8 : 8 + length]))).encode()
        file.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])

    return spoil


def entry(**changed: Any) -> Callable[[Path], None]:
    return header(lambda tensors: tensors | {NORM: tensors[NORM] | changed})


def index(value: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        (folder / "a" / "model.safetensors.index.json").write_text(json.dumps(value))

    return spoil


def weights_of_another_memory(folder: Path) -> None:
    index({"weight_map": dict.fromkeys(read(folder / "b"), "../b/model.safetensors")})(folder)


def a_folder_for_a_file(folder: Path) -> None:
    (folder / "a" / "model.safetensors").unlink()
    (folder / "a" / "model.safetensors").mkdir()


def settings(**changed: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in ("base", "a", "b"):
            path = folder / name / "config.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return spoil


def an_empty_tokenizer(folder: Path) -> None:
    (folder / "a" / "tokenizer.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (header(lambda tensors: [1]), r"/a/model\.safetensors: is missing or damaged"),
        (header(lambda tensors: tensors | {NORM: "x"}), r"/a/model\.safetensors: is missing or damaged"),
        (entry(data_offsets=None), r"/a/model\.safetensors: is missing or damaged"),
        (entry(shape=[-1]), r"/a/model\.safetensors: is missing or damaged"),
        (entry(dtype="F32"), r"/a/model\.safetensors: is missing or damaged"),
        (a_folder_for_a_file, r"/a: holds no model\.safetensors"),
        (index([]), r"index\.json: is not an index"),
        (index({"weight_map": [1]}), r"index\.json: is not an index"),
        (index({"weight_map": {}}), r"index\.json: names no tensors"),
        (weights_of_another_memory, r"index\.json: names files outside of its folder"),
        (settings(hidden_size=-5), r"/base/config\.json: "),
        (settings(num_attention_heads=0), r"/base/config\.json: "),
        (an_empty_tokenizer, "/a: holds no tokenizer that can be read"),
    ],
)
def test_a_damaged_file_is_named(spoil: Callable[[Path], None], message: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(MergeError, match=message):
        check(folder / "base", {"a": folder / "a", "b": folder / "b"})
