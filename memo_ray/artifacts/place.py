"""Where artefacts lie: a folder of a disk or a prefix of an S3 bucket, behind one interface.

A place holds objects (small, written in one step) and folders (models, tables). A folder is *stored* by one writer and
then complete or absent, or *shared* by several, who mark it complete themselves. Places are picklable: tasks on other
nodes read and write them directly.
"""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias

from memo_ray.artifacts.record import FileEntry

if TYPE_CHECKING:
    import pyarrow.fs

Location: TypeAlias = Path | str
"""A folder that tasks on other nodes can find: a path, or the `s3://` URL of a folder of an artefact or a place."""

REMOTE = "s3://"


class Place(ABC):
    """A folder, local or on S3. Names are relative, with `/` between their parts. All methods raise StoreError."""

    url: str
    """The folder's path, or its `s3://` URL; for people and for `open_place`."""

    @abstractmethod
    def child(self, name: str) -> Place:
        """The folder `name` of this one; it need not exist."""

    @abstractmethod
    def get(self, name: str) -> bytes | None:
        """The content of object `name`; None when there is none."""

    @abstractmethod
    def put(self, name: str, content: bytes) -> None:
        """Write object `name` in one step, over whatever is there."""

    @abstractmethod
    def put_new(self, name: str, content: bytes) -> bool:
        """Write object `name` in one step unless there is one; whether this call wrote it."""

    @abstractmethod
    def names(self, prefix: str = "") -> Iterator[str]:
        """The names of all objects that begin with `prefix`, sorted; half-written ones are left out."""

    @abstractmethod
    def folders(self) -> list[str]:
        """The names of the folders directly below this one, sorted."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove the object or folder `name`; nothing happens when there is none."""

    @abstractmethod
    def storing(self, name: str) -> AbstractContextManager[Path]:
        """Yield an empty local folder whose content becomes the folder `name` when the block ends well.

        Until then `name` is absent, or what it was before.
        """

    @abstractmethod
    def location(self, name: str) -> Location | None:
        """The stored folder `name` for other nodes; None unless it is complete."""

    @abstractmethod
    def sharing(self, name: str) -> AbstractContextManager[Path]:
        """Yield a local folder whose files are added to folder `name`; several processes may do so at once."""

    @abstractmethod
    def adopt(self, source: Place, name: str, target: str) -> list[FileEntry]:
        """Have the stored folder `name` of `source` as folder `target` here too, without moving its bytes.

        Gives the entries that a later `upload` of the folder in which this place is written will not see itself.
        """

    @abstractmethod
    def upload(self, folder: Path) -> list[FileEntry]:
        """Every file below the local `folder`, written to the same name here and checked."""

    @abstractmethod
    def fetch(self, entries: Iterable[FileEntry]) -> Path:
        """The local folder that holds this place's files `entries`, checked against their sizes and, when they had to
        be downloaded, their digests."""

    @abstractmethod
    def check(self, entries: Iterable[FileEntry]) -> str:
        """The name of the first of `entries` that is missing or has another size; empty when there is none."""

    @abstractmethod
    def exclusive(self, what: str) -> AbstractContextManager[Callable[[], None]]:
        """Hold this place's lock. Raises StoreError, naming the holder, when another process does.

        Yields a function that raises StoreError unless the lock is still held: to be called before what only its
        holder may do.
        """

    @abstractmethod
    def holder(self) -> dict[str, Any] | None:
        """Who holds this place's lock, as `artifacts.owner` tells it; None when nobody does."""

    @abstractmethod
    def nearby(self, name: str) -> Path:
        """A path of this machine for what must be appended to, which a later try on it finds again; not created."""

    @abstractmethod
    def arrow(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """This place for pyarrow and Ray: a file system and the path in it."""

    @abstractmethod
    def free_bytes(self) -> int | None:
        """Free space; None where there is no such limit."""


def open_place(url: str | Path) -> Place:
    """The place at a path or an `s3://` URL. Nothing is contacted or created yet."""
    if is_remote(url):
        from memo_ray.artifacts.s3 import S3Place

        return S3Place(str(url))
    from memo_ray.artifacts.local import LocalPlace

    return LocalPlace(Path(url).absolute())


def is_remote(location: Location) -> bool:
    """Whether a location is on S3."""
    return isinstance(location, str) and location.startswith(REMOTE)


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """An object that somebody else put there. `tag`: S3's tag of its content."""

    url: str
    bytes: int
    tag: str


def remote_files(url: str) -> list[RemoteFile]:
    """The object at an `s3://` URL, or all below it, sorted. Raises StoreError when the bucket cannot be read."""
    from memo_ray.artifacts.s3_folders import list_objects

    return list_objects(url)


def open_file(where: Location) -> BinaryIO:
    """The file at a path or an `s3://` URL, open for reading anywhere in it. Raises OSError like `open`."""
    if not is_remote(where):
        return Path(where).open("rb")
    bucket, _, key = str(where).removeprefix(REMOTE).partition("/")
    filesystem, root = open_place(f"{REMOTE}{bucket}").arrow()
    # Arrow's file cannot read lines by itself.
    return io.BufferedReader(filesystem.open_input_file(f"{root}/{key}"), 2**20)  # type: ignore[arg-type]


def local_copy(given: str) -> Path:
    """The file or folder at a path (`~` is the home folder; it need not exist) or an `s3://` URL on this machine.

    What lies on S3 is downloaded once for each of its contents. Raises StoreError when there is nothing.
    """
    if not is_remote(given):
        return Path(given).expanduser()
    from memo_ray.artifacts.s3_folders import mirror

    return mirror(given.rstrip("/"))


def local_folder(location: Location) -> Path:
    """The folder at a location on this machine, downloaded (once) where it is not here."""
    if not is_remote(location):
        return Path(location)
    from memo_ray.artifacts.s3_folders import download_folder

    return download_folder(str(location))


def drop_copy(location: Location) -> None:
    """Remove what `local_folder` downloaded of a place's stored folder; of a path nothing."""
    if is_remote(location):
        from memo_ray.artifacts.s3_folders import drop_folder

        drop_folder(str(location))
