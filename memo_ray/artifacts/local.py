"""A place on a disk: objects are files that are renamed into place, stored folders are renamed, locks are flocks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from memo_ray.artifacts.fingerprint import file_digest
from memo_ray.artifacts.owner import named, this_process
from memo_ray.artifacts.place import Location, Place
from memo_ray.artifacts.record import FileEntry
from memo_ray.errors import BeingMade, StoreError

if TYPE_CHECKING:
    import pyarrow.fs


@dataclass(frozen=True)
class LocalPlace(Place):
    """The folder `folder`, which all nodes that use it must reach under this path."""

    folder: Path

    @property
    def url(self) -> str:  # type: ignore[override]
        """The folder's path."""
        return str(self.folder)

    def child(self, name: str) -> LocalPlace:
        """The folder `name` of this one."""
        return LocalPlace(self.folder / name)

    def get(self, name: str) -> bytes | None:
        """A file's content; None when there is none."""
        try:
            with disk_errors(self.folder):
                return (self.folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def put(self, name: str, content: bytes) -> None:
        """Write beside, flush, rename."""
        with disk_errors(self.folder), self._beside(name, content) as scratch:
            scratch.replace(self.folder / name)

    def put_new(self, name: str, content: bytes) -> bool:
        """Write beside, flush, link: linking fails where there is a file."""
        with disk_errors(self.folder), self._beside(name, content) as scratch:
            try:
                os.link(scratch, self.folder / name)
            except FileExistsError:
                return False
            return True

    def names(self, prefix: str = "") -> Iterator[str]:
        """Files below the folder, hidden ones left out: these are half written."""
        start = self.folder / prefix
        root = start if prefix.endswith("/") or not prefix else start.parent
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            name = path.relative_to(self.folder).as_posix()
            if name.startswith(prefix) and not any(part.startswith(".") for part in Path(name).parts):
                yield name

    def folders(self) -> list[str]:
        """Visible subfolders."""
        found = self.folder.glob("*") if self.folder.is_dir() else []
        return sorted(path.name for path in found if path.is_dir() and not path.name.startswith("."))

    def remove(self, name: str) -> None:
        """Unlink a file or remove a tree."""
        path = self.folder / name
        with disk_errors(self.folder):
            if path.is_dir() and not path.is_symlink():
                # Under another name first, so that a kill in between does not leave half of a stored folder.
                gone = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
                path.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    @contextmanager
    def storing(self, name: str) -> Iterator[Path]:
        """A hidden folder beside `name`, renamed at the end."""
        target = self.folder / name
        scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        with disk_errors(self.folder):
            scratch.mkdir(parents=True)
            try:
                yield scratch
                self.remove(name)
                scratch.rename(target)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

    def location(self, name: str) -> Location | None:
        """The folder itself, which is there only when it is complete."""
        folder = self.folder / name
        return folder if folder.is_dir() else None

    @contextmanager
    def sharing(self, name: str) -> Iterator[Path]:
        """The folder itself."""
        with disk_errors(self.folder):
            folder = self.folder / name
            folder.mkdir(parents=True, exist_ok=True)
            yield folder

    def adopt(self, source: Place, name: str, target: str) -> list[FileEntry]:
        """Links to the same files where the file system can link, copies elsewhere."""
        found = source.location(name)
        if not isinstance(found, Path):
            raise StoreError(f"{source.url}/{name}: is not complete")
        with disk_errors(self.folder):
            for path in _files(found):
                place = self.folder / target / path.relative_to(found)
                place.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(path, place)
                except OSError:
                    shutil.copyfile(path, place)
        return []

    def upload(self, folder: Path) -> list[FileEntry]:
        """Move `folder`, or take it as it is when it is this place's own."""
        with disk_errors(self.folder):
            if folder != self.folder:
                self.folder.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(folder, self.folder)
            for path in _files(self.folder):
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            return [entry_of(path, self.folder) for path in _files(self.folder)]

    def fetch(self, entries: Iterable[FileEntry]) -> Path:
        """The folder itself, since it is here."""
        wrong = self.check(entries)
        if wrong:
            raise StoreError(f"{self.folder / wrong}: is missing or has another size than its record")
        return self.folder

    def check(self, entries: Iterable[FileEntry]) -> str:
        """Sizes; contents are not read again."""
        for entry in entries:
            path = self.folder / entry.path
            if not path.is_file() or path.stat().st_size != entry.bytes:
                return entry.path
        return ""

    @contextmanager
    def exclusive(self, what: str) -> Iterator[Callable[[], None]]:
        """A lock that dies with its process keeps a second one out."""
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "lock").open("a+") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    owner = named(_owner(lock))
                    raise BeingMade(f"{self.folder}: {owner} is making {what}; wait for it, or stop it first") from None
                lock.truncate(0)
                lock.write(json.dumps(this_process()))
                lock.flush()
                yield _held  # the kernel takes it from nobody who lives

    def holder(self) -> dict[str, Any] | None:
        """What is in the lock, while it is held."""
        try:
            with (self.folder / "lock").open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            with (self.folder / "lock").open() as lock:
                return _owner(lock)
        except FileNotFoundError:
            pass
        return None

    def nearby(self, name: str) -> Path:
        """In the folder itself."""
        return self.folder / name

    def arrow(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """The local file system."""
        import pyarrow.fs

        return pyarrow.fs.LocalFileSystem(), str(self.folder)

    def free_bytes(self) -> int | None:
        """Free space of the disk that the folder is, or will be, on."""
        path = self.folder
        while not path.exists():
            path = path.parent
        return shutil.disk_usage(path).free

    @contextmanager
    def _beside(self, name: str, content: bytes) -> Iterator[Path]:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with scratch.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield scratch
        finally:
            scratch.unlink(missing_ok=True)


def _owner(lock: TextIO) -> dict[str, Any]:
    """Who has written itself into a lock; empty while it does so."""
    lock.seek(0)
    try:
        return json.loads(lock.read())
    except ValueError:
        return {}


def _held() -> None:
    """Nothing to look up."""


@contextmanager
def disk_errors(home: Path) -> Iterator[None]:
    """Turn a full or read-only disk into one line. Other errors of the block pass."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"{home}: the disk is full; free space and run the command again, it resumes") from error
        if error.errno in (errno.EACCES, errno.EROFS):
            raise StoreError(
                f"{home}: cannot be written ({error.strerror}); check `root:` and its permissions"
            ) from error
        raise


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def entry_of(path: Path, root: Path) -> FileEntry:
    """Size and digest of a file below `root`."""
    return FileEntry(path=path.relative_to(root).as_posix(), bytes=path.stat().st_size, sha256=file_digest(path))
