"""A run's artefacts: find a finished one, or make it once; on a disk or on S3.

Layout, under the store's place: `NAME/FINGERPRINT/artifact.json` beside `attempts/UUID/` (the data) and
`progress/` (what a later attempt resumes from, removed once the record stands). A lock that dies with its
process, on S3 a lease, keeps a second driver out; a record is written where there is none and never over another.
"""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from memo_ray.artifacts.cache import scratch_folder
from memo_ray.artifacts.fingerprint import files_digest
from memo_ray.artifacts.local import LocalPlace, disk_errors
from memo_ray.artifacts.place import Location, Place, open_place
from memo_ray.artifacts.record import FileEntry, Record, package_versions, read_record, this_machine
from memo_ray.artifacts.tables import read_rows, write_rows
from memo_ray.errors import FinishedElsewhere, StoreError

Row = TypeVar("Row")
RECORD = "artifact.json"


@dataclass(frozen=True)
class Artifact:
    """A finished artefact: its record and the place that the record's paths are relative to."""

    record: Record
    place: Place

    def path(self, name: str) -> Path:
        """The file or folder `name` of this artefact on this machine, downloaded where it is not here.

        Raises StoreError when the record does not list it.
        """
        return self.place.fetch(self._entries(name)) / name

    def location(self, name: str) -> Location:
        """The folder `name` for tasks on other nodes, which get it with `local_folder`."""
        self._entries(name)
        return self.place.folder / name if isinstance(self.place, LocalPlace) else f"{self.place.url}/{name}"

    def rows(self, table: str, kind: type[Row], without: tuple[str, ...] = ()) -> list[Row]:
        """Every row of the artefact's Parquet table; the texts of the columns `without` are left empty."""
        return read_rows(self.path(f"{table}.parquet"), kind, without)

    def _entries(self, name: str) -> list[FileEntry]:
        found = [entry for entry in self.record.files if entry.path == name or entry.path.startswith(name + "/")]
        if not found:
            raise StoreError(f"{self.place.url}: artefact {self.record.name} holds no {name}")
        return found


@dataclass
class Attempt:
    """One try at making an artefact. Write into `folder`; keep what a later try can reuse in `progress`."""

    folder: Path
    progress: Place
    place: Place
    rows: dict[str, int] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    adopted: list[FileEntry] = field(default_factory=list)

    def write(self, table: str, rows: Iterable[Any], kind: type) -> None:
        """Write a Parquet table and note its row count."""
        self.rows[table] = write_rows(self.folder / f"{table}.parquet", rows, kind)

    def adopt(self, name: str, target: str) -> None:
        """Make the stored folder `name` of the progress part of the artefact as `target`, without moving its bytes."""
        self.adopted += self.place.adopt(self.progress, name, target)

    def add_cost(self, **amounts: float) -> None:
        """Add to the measured costs, for example `engine_starts=1`."""
        for key, amount in amounts.items():
            self.cost[key] = self.cost.get(key, 0) + amount


class Store:
    """The artefacts below one place."""

    def __init__(self, root: str | Path | Place) -> None:
        self.place = root if isinstance(root, Place) else open_place(root)

    def find(self, name: str, fingerprint: str) -> Artifact | None:
        """The finished artefact, or None. Raises StoreError when its files are not what the record says."""
        home = self._home(name, fingerprint)
        content = home.get(RECORD)
        if content is None:
            return None
        record = read_record(content, f"{home.url}/{RECORD}")
        place = home.child(f"attempts/{record.attempt}")
        wrong = place.check(record.files)
        if wrong:
            raise StoreError(
                f"{place.url}/{wrong}: is missing or has another size than its record; remove {home.url} to remake it"
            )
        return Artifact(record, place)

    def latest(self, name: str) -> Artifact | None:
        """The newest finished artefact of that name, whatever its fingerprint."""
        found = [self.find(name, fingerprint) for fingerprint in self.place.child(name).folders()]
        return max((a for a in found if a), key=lambda a: a.record.finished, default=None)

    def made(self, name: str, digest: str) -> Artifact | None:
        """The finished artefact of that name with this content, whatever its fingerprint."""
        found = (self.find(name, fingerprint) for fingerprint in self.place.child(name).folders())
        return next((artifact for artifact in found if artifact and artifact.record.digest == digest), None)

    def begun(self, name: str) -> bool:
        """Whether an attempt at an artefact of that name has left something to go on from."""
        return any("/progress/" in f"/{found}" for found in self.place.child(name).names())

    @contextmanager
    def attempt(
        self, name: str, stage: str, fingerprint: str, config: Mapping[str, Any], inputs: Mapping[str, str]
    ) -> Iterator[Attempt]:
        """Make an artefact: yields an Attempt, and on a clean exit writes the record that finishes it.

        On an error the attempt's folder is removed and `progress` is kept. Raises BeingMade while another process
        makes the same artefact, FinishedElsewhere when one has, StoreError when the disk is full.
        """
        home = self._home(name, fingerprint)
        started, clock = _now(), time.monotonic()
        with home.exclusive(name) as confirm:
            if home.get(RECORD) is not None:
                raise _finished_first(home)
            # A killed attempt leaves its folder behind; nobody else can be writing while we hold the lock.
            home.remove("attempts")
            place = home.child(f"attempts/{uuid.uuid4().hex}")
            try:
                with _working_folder(place) as folder:
                    attempt = Attempt(folder, home.child("progress"), place)
                    yield attempt
                    attempt.cost.setdefault("seconds", round(time.monotonic() - clock, 3))
                    written = {entry.path: entry for entry in [*attempt.adopted, *place.upload(folder)]}
                files = tuple(written[path] for path in sorted(written))
                record = Record(
                    name=name, stage=stage, fingerprint=fingerprint, attempt=place.url.rpartition("/")[2],
                    digest=files_digest({entry.path: entry.sha256 for entry in files}),
                    config=dict(config), inputs=dict(inputs), files=files, rows=attempt.rows, facts=attempt.facts,
                    cost=attempt.cost, versions=package_versions(), made_on=this_machine(), git_commit=git_commit(),
                    started=started, finished=_now(),
                )  # fmt: skip
                confirm()
                if not home.put_new(RECORD, record.model_dump_json(indent=1).encode()):
                    raise _finished_first(home)
            except BaseException:
                # Its own folder alone, for another process may be at work by now. What cannot be removed, in an
                # outage, the next attempt removes.
                with suppress(StoreError):
                    home.remove(f"attempts/{place.url.rpartition('/')[2]}")
                raise
            confirm()
            home.remove("progress")

    def _home(self, name: str, fingerprint: str) -> Place:
        return self.place.child(f"{name}/{fingerprint[:16]}")


@contextmanager
def _working_folder(place: Place) -> Iterator[Path]:
    """Where an attempt writes: its own folder on a disk, a folder of this machine when it will be uploaded."""
    if isinstance(place, LocalPlace):
        with place.sharing("") as folder:
            yield folder
    else:
        from memo_ray.artifacts.s3_client import told_of_arrow

        with scratch_folder() as folder, disk_errors(folder), told_of_arrow(place.url):
            yield folder


def git_commit() -> str:
    """The commit of the code that runs, with `-dirty` for local changes; empty outside a checkout."""
    describe = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(describe, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _finished_first(home: Place) -> FinishedElsewhere:
    return FinishedElsewhere(f"{home.url}: another process finished this artefact first")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
