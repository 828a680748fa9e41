"""What the headers of safetensors files tell about a model's tensors, without reading any of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from memo_ray.errors import MergeError

DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
"""Floating-point formats by their name in a safetensors header and in mergekit."""


@dataclass(frozen=True)
class Tensor:
    """One tensor as a header describes it; `start` and `end` are byte offsets in `file`."""

    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    end: int

    @property
    def elements(self) -> int:
        """How many numbers the tensor holds."""
        product = 1
        for size in self.shape:
            product *= size
        return product


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a model folder by name, from the headers of its safetensors files."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = json.loads(index.read_bytes())["weight_map"]
        except (ValueError, KeyError):
            raise MergeError(f"{index}: is not an index of safetensors files; save the model again") from None
        headers = {file: _header(folder / file) for file in set(shards.values())}
        missing = [name for name, file in shards.items() if name not in headers[file]]
        if missing:
            raise MergeError(f"{index}: lists {missing[0]}, which {shards[missing[0]]} lacks; save the model again")
        return {name: headers[file][name] for name, file in shards.items()}
    if not (folder / "model.safetensors").is_file():
        raise MergeError(f"{folder}: holds no model.safetensors; save the model as safetensors, nothing else is read")
    return _header(folder / "model.safetensors")


def _header(file: Path) -> dict[str, Tensor]:
    damaged = MergeError(f"{file}: is missing or damaged; remove the model's folder and make it again")
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if length + 8 > size:
                raise damaged
            header = json.loads(opened.read(length))
    except (FileNotFoundError, ValueError):
        raise damaged from None
    header.pop("__metadata__", None)
    data = 8 + length
    tensors = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        tensors[name] = Tensor(entry["dtype"], tuple(entry["shape"]), file, data + start, data + end)
    if not tensors or max(tensor.end for tensor in tensors.values()) != size:
        raise damaged
    return tensors
