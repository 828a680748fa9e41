"""Rows that need not fit into memory: JSON on this machine's disk, read again by their number.

What the driver of a synthesis looks at once or twice, the chunks' texts and everything that was lost, stands here; in
memory a row takes eight bytes. The file has no name and ends with its process, however that ends.
"""

from __future__ import annotations

import json
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar, overload

Item = TypeVar("Item")


class Shelf(Sequence[Item], Generic[Item]):
    """A list on disk. `read` makes an item of its JSON; each look makes a new one. For one thread."""

    def __init__(self, read: Callable[[Any], Item], values: Iterable[Any] = ()) -> None:
        self._read = read
        self._file = tempfile.TemporaryFile(prefix="memo-shelf-")  # noqa: SIM115 it is closed with its list
        weakref.finalize(self, self._file.close)
        self._starts = array("q")
        for value in values:
            self.append(value)

    def append(self, value: Any) -> None:
        """Put the JSON value `value` at the end."""
        self._starts.append(self._file.seek(0, 2))
        self._file.write(json.dumps(value).encode() + b"\n")

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        self._file.seek(self._starts[index])
        return self._read(json.loads(self._file.readline()))
