"""Weights as a merge reads and writes them: a stretch of one tensor at a time, straight from and to safetensors files.

Names, shapes and formats are known from headers before anything is read, so an output's headers are written first and
its tensors may then come in any order and from several threads; nothing waits in memory for a shard to fill.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch

from memo_ray.errors import MergeError
from memo_ray.merging.headers import BYTES, DTYPES, Tensor

SHARD_BYTES = 2_000_000_000
"""Size of the output's files; a larger tensor gets one of its own."""


def read(tensor: Tensor, dtype: str | None = None, first: int = 0, end: int | None = None) -> torch.Tensor:
    """The tensor as one row of numbers, rounded to `dtype` (a name such as `bfloat16`) when that is given.

    `first`, `end`: only the entries between. Raises MergeError when the file has become shorter.
    """
    size = BYTES[tensor.dtype]
    stored = np.empty(((tensor.elements if end is None else end) - first) * size, np.uint8)
    left, at = stored.data, tensor.start + first * size
    file = os.open(tensor.file, os.O_RDONLY)
    try:
        while left:
            done = os.preadv(file, [left], at)
            if not done:
                raise MergeError(f"{tensor.file}: has become shorter meanwhile; make the model again")
            left, at = left[done:], at + done
    finally:
        os.close(file)
    row = torch.from_numpy(stored).view(getattr(torch, DTYPES[tensor.dtype]))
    return row if dtype is None else row.to(getattr(torch, dtype))


class Output:
    """The safetensors files of one merged model in `folder`, all of whose tensors are to be `write`-n."""

    def __init__(self, folder: Path, tensors: Mapping[str, Tensor]) -> None:
        self._places: dict[str, tuple[int, int, int]] = {}
        """By tensor: file descriptor, offset, bytes of a number."""
        self._files: list[int] = []
        folder.mkdir(parents=True)
        shards = list(_shards(tensors))
        total = len(shards)
        names = (
            ["model.safetensors"]
            if total == 1
            else [f"model-{n + 1:05d}-of-{total:05d}.safetensors" for n in range(total)]
        )
        for file, shard in zip(names, shards, strict=True):
            self._start(folder / file, shard)
        if total > 1:
            index = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
            size = sum(tensor.end - tensor.start for tensor in tensors.values())
            text = json.dumps({"metadata": {"total_size": size}, "weight_map": index}, indent=2)
            (folder / "model.safetensors.index.json").write_text(text)

    def write(self, name: str, first: int, numbers: torch.Tensor) -> None:
        """Put `numbers`, in the output's format, into tensor `name` from its element `first` on; thread-safe."""
        file, offset, size = self._places[name]
        left = memoryview(numbers.contiguous().view(torch.uint8).numpy())  # type: ignore[arg-type]  # arrays are buffers
        at = offset + first * size
        while left:
            done = os.pwrite(file, left, at)
            # Has the system begin to write it to the disk, instead of all at the end.
            os.posix_fadvise(file, at, done, os.POSIX_FADV_DONTNEED)
            left, at = left[done:], at + done

    def close(self) -> None:
        """Close the files; whatever was not written reads as zeros."""
        while self._files:
            os.close(self._files.pop())

    def __enter__(self) -> Output:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self, path: Path, shard: Mapping[str, Tensor]) -> None:
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        at = 0
        for name, tensor in shard.items():
            size = tensor.end - tensor.start
            header[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [at, at + size]}
            at += size
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        self._files.append(file)
        os.write(file, len(text).to_bytes(8, "little") + text)
        at = 8 + len(text)
        os.ftruncate(file, at + sum(tensor.end - tensor.start for tensor in shard.values()))
        for name, tensor in shard.items():
            size = tensor.end - tensor.start
            self._places[name] = (file, at, size // max(1, tensor.elements))
            at += size


def _shards(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """`tensors` by name, as many together as make up SHARD_BYTES."""
    shard: dict[str, Tensor] = {}
    held = 0
    for name, tensor in sorted(tensors.items()):
        size = tensor.end - tensor.start
        if shard and held + size > SHARD_BYTES:
            yield shard
            shard, held = {}, 0
        shard[name] = tensor
        held += size
    yield shard
