"""Files that are written out of order are what safetensors reads, in one file or several."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from memo_ray.errors import MergeError
from memo_ray.merging import weights
from memo_ray.merging.headers import read_header, read_tensors
from memo_ray.merging.weights import Output, read

TENSORS = {"b.weight": torch.randn(7, 3), "a.weight": torch.randn(5), "c.scale": torch.randn(())}


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    save_file({name: value.bfloat16() for name, value in TENSORS.items()}, tmp_path / "in.safetensors")
    return tmp_path / "in.safetensors"


@pytest.mark.parametrize(("shard_bytes", "files"), [(2_000_000_000, 1), (16, 3)])
def test_what_is_written_is_read_back(
    shard_bytes: int, files: int, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SHARD_BYTES", shard_bytes)
    header = read_header(stored)
    with Output(tmp_path / "out", header) as output:
        for name in TENSORS:
            row = read(header[name])
            for first in reversed(range(0, row.numel(), 4)):
                output.write(name, first, row[first : first + 4])
    written = sorted((tmp_path / "out").glob("*.safetensors"))
    loaded = {name: value for file in written for name, value in load_file(file).items()}
    assert loaded.keys() == TENSORS.keys()
    assert all(torch.equal(loaded[name], value.bfloat16()) for name, value in TENSORS.items())
    assert {name: tensor.shape for name, tensor in read_tensors(tmp_path / "out").items()} == {
        name: tuple(value.shape) for name, value in TENSORS.items()
    }
    if files > 1:
        index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == 2 * sum(value.numel() for value in TENSORS.values())


def test_a_tensor_is_rounded_to_the_wanted_format(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "in.safetensors")
    tensor = read_header(tmp_path / "in.safetensors")["b.weight"]
    assert torch.equal(read(tensor, "bfloat16"), TENSORS["b.weight"].flatten().bfloat16())
    assert torch.equal(read(tensor), TENSORS["b.weight"].flatten())
    assert torch.equal(read(tensor, "bfloat16", 4, 9), TENSORS["b.weight"].flatten()[4:9].bfloat16())


def test_a_file_that_shrinks_while_it_is_read_is_an_error(stored: Path) -> None:
    tensor = max(read_header(stored).values(), key=lambda tensor: tensor.end)
    os.truncate(stored, tensor.start)
    with pytest.raises(MergeError, match=r"in\.safetensors: has become shorter"):
        read(tensor)
