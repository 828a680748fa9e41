"""A place on S3 or any service that speaks its API.

Folders travel as many parts of many files at once; every object carries the
digest of its content, so that a broken transfer goes on with what is still missing.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError, IncompleteReadError, ResponseStreamingError
from s3transfer.manager import TransferManager

from memo_ray.artifacts.cache import cache_folder, locked, scratch_folder
from memo_ray.artifacts.fingerprint import file_digest
from memo_ray.artifacts.lease import leased
from memo_ray.artifacts.local import disk_errors, entry_of
from memo_ray.artifacts.place import REMOTE, Location, Place
from memo_ray.artifacts.record import FileEntry
from memo_ray.artifacts.s3_client import ABSENT, CONDITION, CONFLICT, arrow_filesystem, client, code_of, told, transfers
from memo_ray.artifacts.s3_lease import S3Lease
from memo_ray.errors import StoreError

if TYPE_CHECKING:
    import pyarrow.fs

FILES_AT_ONCE = 16
"""Files that are hashed and looked at together."""

READS = 5
"""Tries of what botocore itself does not try again."""

LISTED = ".files.json"
"""`NAME.files.json` beside a stored folder `NAME` lists its files; without it the folder is not complete."""


@dataclass(frozen=True)
class S3Place(Place):
    """The objects of a bucket below a prefix: `s3://bucket/prefix`."""

    url: str  # type: ignore[override]

    def __post_init__(self) -> None:
        if not self.bucket:
            raise StoreError(f"{self.url}: names no bucket; write s3://bucket/prefix")
        object.__setattr__(self, "url", self.url.rstrip("/"))

    @property
    def bucket(self) -> str:
        """The bucket's name."""
        return self.url.removeprefix(REMOTE).partition("/")[0]

    def key(self, name: str) -> str:
        """The key of object `name`; of the place itself, ending in a slash, for an empty name."""
        prefix = self.url.removeprefix(REMOTE).partition("/")[2]
        return f"{prefix}/{name}" if prefix else name

    def child(self, name: str) -> S3Place:
        """The prefix `name` below this one."""
        return S3Place(f"{self.url}/{name}")

    def get(self, name: str) -> bytes | None:
        """An object's content; None when there is none."""
        with told(f"{self.url}/{name}"):
            for left in reversed(range(READS)):
                try:
                    return client().get_object(Bucket=self.bucket, Key=self.key(name))["Body"].read()
                except ClientError as error:
                    if code_of(error) in ABSENT:
                        return None
                    raise
                except (ResponseStreamingError, IncompleteReadError):  # beyond what botocore tries again
                    if not left:
                        raise
                    time.sleep(1)
            return None

    def put(self, name: str, content: bytes) -> None:
        """One PUT, which S3 makes visible as a whole."""
        with told(f"{self.url}/{name}"):
            client().put_object(Bucket=self.bucket, Key=self.key(name), Body=content)

    def put_new(self, name: str, content: bytes) -> bool:
        """One PUT with If-None-Match."""
        with told(f"{self.url}/{name}"):
            for left in reversed(range(READS)):
                try:
                    client().put_object(Bucket=self.bucket, Key=self.key(name), Body=content, IfNoneMatch="*")
                    return True
                except ClientError as error:
                    if code_of(error) in CONFLICT and left:
                        time.sleep(1)
                    elif code_of(error) in CONDITION:
                        # A retry of a PUT whose answer was lost finds what it wrote itself.
                        return self.get(name) == content
                    else:
                        raise
            return False

    def names(self, prefix: str = "") -> Iterator[str]:
        """Keys below the place, in S3's order, which is sorted."""
        yield from self.sizes(prefix)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        """Bytes of every object below the place, by its name."""
        start = self.key("")
        with told(self.url):
            pages = client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.key(prefix))
            found = {item["Key"][len(start) :]: item["Size"] for page in pages for item in page.get("Contents", ())}
        return {name: size for name, size in found.items() if name and not name.endswith("/")}

    def folders(self) -> list[str]:
        """Common prefixes up to the next slash."""
        start = self.key("")
        with told(self.url):
            pages = client().get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start, Delimiter="/")
            found = [one["Prefix"] for page in pages for one in page.get("CommonPrefixes", ())]
        return sorted(prefix[len(start) :].rstrip("/") for prefix in found)

    def remove(self, name: str) -> None:
        """Delete the object `name`, its list of files first, and everything below `name/`."""
        with told(f"{self.url}/{name}"):
            for key in (self.key(name + LISTED), self.key(name)):
                client().delete_object(Bucket=self.bucket, Key=key)
            batch: list[str] = []
            for found in self.names(f"{name}/"):
                batch.append(self.key(found))
                if len(batch) == 1000:
                    self._delete(batch)
                    batch = []
            if batch:
                self._delete(batch)

    def _delete(self, keys: list[str]) -> None:
        objects = [{"Key": key} for key in keys]
        failed = client().delete_objects(Bucket=self.bucket, Delete={"Objects": objects, "Quiet": True}).get("Errors")
        if failed:
            raise StoreError(f"{REMOTE}{self.bucket}/{failed[0]['Key']}: cannot be deleted ({failed[0]['Code']})")

    @contextmanager
    def storing(self, name: str) -> Iterator[Path]:
        """A folder of this machine, uploaded at the end; the list of its files makes it complete."""
        with scratch_folder() as scratch:
            yield scratch
            # What an earlier writer left must not pass for the new folder meanwhile; files that are right stay.
            self._delete([self.key(name + LISTED)])
            before = self.child(name).sizes()
            files = self.child(name).upload(scratch, before)
            for old in before.keys() - {entry.path for entry in files}:
                self._delete([self.key(f"{name}/{old}")])
            self.put(name + LISTED, json.dumps([entry.model_dump() for entry in files]).encode())

    def location(self, name: str) -> Location | None:
        """The folder's URL once its list of files is there."""
        return f"{self.url}/{name}" if self.get(name + LISTED) is not None else None

    @contextmanager
    def sharing(self, name: str) -> Iterator[Path]:
        """A folder of this machine, whose files are uploaded at the end."""
        with scratch_folder() as scratch:
            yield scratch
            self.child(name).upload(scratch)

    def entry(self, name: str) -> FileEntry:
        """Size of an object, and the digest that it was uploaded with (empty: by another program)."""
        head = client().head_object(Bucket=self.bucket, Key=self.key(name))
        return FileEntry(path=name, bytes=head["ContentLength"], sha256=head["Metadata"].get("sha256", ""))

    def adopt(self, source: Place, name: str, target: str) -> list[FileEntry]:
        """Copies inside S3: nothing passes through this machine."""
        listed = source.get(name + LISTED)
        if listed is None or not isinstance(source, S3Place):
            raise StoreError(f"{source.url}/{name}: is not complete")
        files = [FileEntry(**entry) for entry in json.loads(listed)]
        with told(self.url), transfers() as moving:
            copies = [
                moving.copy(
                    {"Bucket": source.bucket, "Key": source.key(f"{name}/{entry.path}")},
                    self.bucket,
                    self.key(f"{target}/{entry.path}"),
                )
                for entry in files
            ]
            for copy in copies:
                copy.result()
        return [entry.model_copy(update={"path": f"{target}/{entry.path}"}) for entry in files]

    def upload(self, folder: Path, there: dict[str, int] | None = None) -> list[FileEntry]:
        """Every file below `folder`; one that is there already with this content is not sent again.

        `there`: the place's `sizes`, where they are known.
        """
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        before = self.sizes() if there is None else there
        with told(self.url), transfers() as moving:

            def send(path: Path) -> tuple[FileEntry, Any]:
                entry = entry_of(path, folder)
                if before.get(entry.path) == entry.bytes and self.entry(entry.path) == entry:
                    return entry, None
                extra = {"Metadata": {"sha256": entry.sha256}}
                return entry, moving.upload(str(path), self.bucket, self.key(entry.path), extra_args=extra)

            with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
                sent = list(pool.map(send, paths))
            for _, transfer in sent:
                if transfer is not None:
                    transfer.result()
        return [entry for entry, _ in sent]

    def fetch(self, entries: Iterable[FileEntry]) -> Path:
        """A folder of this machine's cache with these files; what is in it already is not downloaded again."""
        entries = list(entries)
        folder = self.cached(entries)
        if not all(entry.sha256 for entry in entries):  # another program's: nothing says that a copy is still right
            shutil.rmtree(folder, ignore_errors=True)
        return self.download(entries, folder)

    def cached(self, entries: Iterable[FileEntry]) -> Path:
        """The folder that `fetch` gives, whether it is there or not."""
        # By content too, since a folder of the progress may be written again.
        name = json.dumps([self.url, sorted((entry.path, entry.sha256) for entry in entries)])
        return cache_folder() / "s3" / sha256(name.encode()).hexdigest()[:32]

    def download(self, entries: list[FileEntry], folder: Path) -> Path:
        """Those of `entries` that `folder` does not hold, into it; an entry without a digest is checked by S3 alone."""
        for entry in entries:
            if any(part in ("", ".", "..") for part in entry.path.split("/")):
                raise StoreError(f"{self.url}/{entry.path}: is no name that a file may have here; rename the object")
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_suffix(".lock")), disk_errors(folder), told(self.url):
            missing = [entry for entry in entries if not _is_file(folder / entry.path, entry.bytes)]
            # Each is looked at as soon as it has come. When one is wrong, transfers end before those who wait for them.
            with ThreadPoolExecutor(FILES_AT_ONCE) as pool, transfers() as moving:
                coming = [(entry, *self._receive(entry, folder, moving)) for entry in missing]
                for kept in [pool.submit(self._keep, *one, folder) for one in coming]:
                    kept.result()
        return folder

    def _keep(self, entry: FileEntry, scratch: Path, transfer: Any, folder: Path) -> None:
        transfer.result()
        if entry.sha256 and file_digest(scratch) != entry.sha256:
            scratch.unlink()
            raise StoreError(f"{self.url}/{entry.path}: has another content than its record says")
        if scratch.stat().st_size != entry.bytes:
            scratch.unlink()
            raise StoreError(f"{self.url}/{entry.path}: changed while it was read; run the command again")
        scratch.replace(folder / entry.path)

    def _receive(self, entry: FileEntry, folder: Path, moving: TransferManager) -> tuple[Path, Any]:
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = target.with_name(f".{target.name}.part")  # under the lock; a killed one's is written over
        return scratch, moving.download(self.bucket, self.key(entry.path), str(scratch))

    def check(self, entries: Iterable[FileEntry]) -> str:
        """Sizes, from one listing of the folder."""
        sizes = self.sizes()
        return next((entry.path for entry in entries if sizes.get(entry.path) != entry.bytes), "")

    @contextmanager
    def exclusive(self, what: str) -> Iterator[Callable[[], None]]:
        """A lease that is renewed for as long as the block lasts."""
        with leased(S3Lease(self.bucket, self.key("lease"), self.url), self.url, what) as confirm:
            yield confirm

    def holder(self) -> dict[str, Any] | None:
        """Who renews the lease."""
        return S3Lease(self.bucket, self.key("lease"), self.url).holder()

    def nearby(self, name: str) -> Path:
        """In the cache, since nothing can be appended to an object."""
        return cache_folder() / "nearby" / sha256(self.url.encode()).hexdigest()[:32] / name

    def arrow(self) -> tuple[pyarrow.fs.FileSystem, str]:
        """Arrow's own S3 client, with the same environment."""
        return arrow_filesystem(), f"{self.bucket}/{self.key('')}".rstrip("/")

    def free_bytes(self) -> int | None:
        """There is no limit that could be asked."""
        return None


def _is_file(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
