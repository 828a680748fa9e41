"""A run's folder of artefacts: find a finished one, or make it once.

Layout, under the run's folder: `NAME/FINGERPRINT/artifact.json` beside `attempts/UUID/` (the data) and
`progress/` (what a later attempt resumes from, removed once the record stands). A lock that dies with its
process keeps a second driver out; a record is linked into place and never overwritten.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from memo_ray.artifacts.fingerprint import file_digest, files_digest
from memo_ray.artifacts.record import SCHEMA_VERSION, FileEntry, Record, package_versions
from memo_ray.artifacts.tables import read_rows, write_rows
from memo_ray.errors import StoreError

Row = TypeVar("Row")


@dataclass(frozen=True)
class Artifact:
    """A finished artefact: its record and the folder that the record's paths are relative to."""

    record: Record
    folder: Path

    def path(self, name: str) -> Path:
        """The file or folder `name` of this artefact. Raises StoreError when the record does not list it."""
        if not any(entry.path == name or entry.path.startswith(name + "/") for entry in self.record.files):
            raise StoreError(f"{self.folder}: artefact {self.record.name} holds no {name}")
        return self.folder / name

    def rows(self, table: str, kind: type[Row]) -> list[Row]:
        """Every row of the artefact's Parquet table."""
        return read_rows(self.path(f"{table}.parquet"), kind)


@dataclass
class Attempt:
    """One try at making an artefact. Write into `folder`; keep what a later try can reuse in `progress`."""

    folder: Path
    progress: Path
    rows: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)

    def write(self, table: str, rows: Iterable[Any], kind: type) -> None:
        """Write a Parquet table and note its row count."""
        self.rows[table] = write_rows(self.folder / f"{table}.parquet", rows, kind)

    def add_cost(self, **amounts: float) -> None:
        """Add to the measured costs, for example `engine_starts=1`."""
        for key, amount in amounts.items():
            self.cost[key] = self.cost.get(key, 0) + amount


class Store:
    """The artefacts below one local folder."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).absolute()

    def find(self, name: str, fingerprint: str) -> Artifact | None:
        """The finished artefact, or None. Raises StoreError when its files are not what the record says."""
        home = self._home(name, fingerprint)
        record_path = home / "artifact.json"
        try:
            record = Record.model_validate_json(record_path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            schema = _schema_version(record_path)
            if schema != SCHEMA_VERSION:
                raise StoreError(
                    f"{record_path}: has schema version {schema}, this memo-ray reads {SCHEMA_VERSION}; "
                    f"remove {home} to make it again"
                ) from None
            raise StoreError(f"{record_path}: is damaged ({error.error_count()} errors); remove {home}") from None
        folder = home / "attempts" / record.attempt
        for entry in record.files:
            path = folder / entry.path
            if not path.is_file() or path.stat().st_size != entry.bytes:
                raise StoreError(f"{path}: is missing or has another size than its record; remove {home} to remake it")
        return Artifact(record, folder)

    def latest(self, name: str) -> Artifact | None:
        """The newest finished artefact of that name, whatever its fingerprint."""
        found = [
            self.find(name, home.name) for home in (self.root / name).glob("*") if (home / "artifact.json").exists()
        ]
        return max((a for a in found if a), key=lambda a: a.record.finished, default=None)

    @contextmanager
    def attempt(
        self, name: str, stage: str, fingerprint: str, config: Mapping[str, Any], inputs: Mapping[str, str]
    ) -> Iterator[Attempt]:
        """Make an artefact: yields an Attempt, and on a clean exit writes the record that finishes it.

        On an error the attempt's folder is removed and `progress` is kept. Raises StoreError when another
        process is making the same artefact, or the disk is full.
        """
        home = self._home(name, fingerprint)
        started, clock = _now(), time.monotonic()
        with _disk_errors(home), _exclusive(home, name):
            if (home / "artifact.json").exists():
                raise StoreError(f"{home}: another process finished this artefact first; run the command again")
            # A killed attempt leaves its folder behind; nobody else can be writing while we hold the lock.
            shutil.rmtree(home / "attempts", ignore_errors=True)
            attempt = Attempt(home / "attempts" / uuid.uuid4().hex, home / "progress")
            attempt.folder.mkdir(parents=True)
            attempt.progress.mkdir(exist_ok=True)
            try:
                yield attempt
                attempt.cost.setdefault("seconds", round(time.monotonic() - clock, 3))
                files = tuple(_entries(attempt.folder))
                record = Record(
                    name=name, stage=stage, fingerprint=fingerprint, attempt=attempt.folder.name,
                    digest=files_digest({entry.path: entry.sha256 for entry in files}),
                    config=dict(config), inputs=dict(inputs), files=files, rows=attempt.rows, facts=attempt.facts,
                    cost=attempt.cost, versions=package_versions(), git_commit=git_commit(),
                    started=started, finished=_now(),
                )  # fmt: skip
                _put_if_absent(home / "artifact.json", record.model_dump_json(indent=1).encode())
            except BaseException:
                shutil.rmtree(attempt.folder, ignore_errors=True)
                raise
            shutil.rmtree(attempt.progress, ignore_errors=True)

    def _home(self, name: str, fingerprint: str) -> Path:
        return self.root / name / fingerprint[:16]


def git_commit() -> str:
    """The commit of the code that runs, with `-dirty` for local changes; empty outside a checkout."""
    describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _entries(folder: Path) -> Iterator[FileEntry]:
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            os.fsync(file.fileno())
        yield FileEntry(path=path.relative_to(folder).as_posix(), bytes=path.stat().st_size, sha256=file_digest(path))


def _put_if_absent(path: Path, content: bytes) -> None:
    """Publish `content` at `path` in one step, failing if something is there (S3: If-None-Match)."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise StoreError(f"{path}: another process finished this artefact first; run the command again") from None
    finally:
        temporary.unlink()


@contextmanager
def _exclusive(home: Path, name: str) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "another process"
            raise StoreError(f"{home}: {owner} is making {name}; wait for it, or stop it first") from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()}")
        lock.flush()
        yield


@contextmanager
def _disk_errors(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreError(f"{home}: the disk is full; free space and run the command again, it resumes") from error
        if error.errno in (errno.EACCES, errno.EROFS):
            raise StoreError(
                f"{home}: cannot be written ({error.strerror}); check `root:` and its permissions"
            ) from error
        raise


def _schema_version(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes()).get("schema_version")
    except (ValueError, AttributeError):
        return SCHEMA_VERSION


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
