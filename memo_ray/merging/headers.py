"""What the headers of safetensors files tell about a model's tensors, without reading any of them."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from memo_ray.errors import MergeError
from memo_ray.machine import memory_available

DTYPES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
"""Floating-point formats by their name in a safetensors header and in mergekit."""
BYTES = {"BF16": 2, "F16": 2, "F32": 4}
"""Of a number in each of them."""


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
            shards = dict(json.loads(index.read_bytes())["weight_map"])
            inside = all(file == os.path.basename(file) for file in shards.values())
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise MergeError(f"{index}: is not an index of safetensors files; save the model again") from None
        if not inside or not shards:
            what = "names files outside of its folder" if shards else "names no tensors"
            raise MergeError(f"{index}: {what}; save the model again")
        headers = {file: read_header(folder / file) for file in set(shards.values())}
        missing = [name for name, file in shards.items() if name not in headers[file]]
        if missing:
            raise MergeError(f"{index}: lists {missing[0]}, which {shards[missing[0]]} lacks; save the model again")
        return {name: headers[file][name] for name, file in shards.items()}
    if not (folder / "model.safetensors").is_file():
        raise MergeError(f"{folder}: holds no model.safetensors; save the model as safetensors, nothing else is read")
    return read_header(folder / "model.safetensors")


def read_header(file: Path) -> dict[str, Tensor]:
    """Every tensor of one safetensors file by name. Raises MergeError for a file that is missing or damaged."""
    damaged = MergeError(f"{file}: is missing or damaged; remove the model's folder and make it again")
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if length + 8 > size:
                raise damaged
            header = json.loads(opened.read(length))
        header.pop("__metadata__", None)
        data = 8 + length
        tensors = {}
        for name, entry in header.items():
            start, end = map(int, entry["data_offsets"])
            shape = tuple(map(int, entry["shape"]))
            tensors[name] = Tensor(str(entry["dtype"]), shape, file, data + start, data + end)
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        raise damaged from None
    if not tensors or max(tensor.end for tensor in tensors.values()) != size or not all(map(_fits, tensors.values())):
        raise damaged
    return tensors


def _fits(tensor: Tensor) -> bool:
    """Whether a tensor's bytes are as many as its shape and format need."""
    stored, number = tensor.end - tensor.start, BYTES.get(tensor.dtype)
    return stored >= 0 and min(tensor.shape, default=0) >= 0 and number in (None, stored / max(1, tensor.elements))


def read_ahead(folders: Collection[Path]) -> None:
    """Have the system read the folders' weights into its cache meanwhile, if they fit half of the free memory."""
    files = [file for folder in folders for file in folder.glob("*.safetensors") if file.is_file()]
    if sum(file.stat().st_size for file in files) <= memory_available() // 2:
        for file in files:
            threading.Thread(target=will_need, args=(file,), daemon=True).start()


def will_need(file: Path, start: int = 0, size: int = 0) -> None:
    """Have the system read `size` bytes of a file (0: all that follow `start`) into its cache."""
    with suppress(OSError), file.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), start, size, os.POSIX_FADV_WILLNEED)
