"""The memories of a run by name and version: what each was made from, how well it recalls, and what it replaced.

Kept in the run's folder as `registry/NAME/N.json`, an object a version. A version is written once and never given
again; one that was withdrawn keeps its entry, for the lineage, but is no longer handed out.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, ValidationError, field_validator

from memo_ray.artifacts.local import LocalPlace
from memo_ray.artifacts.place import Location, Place
from memo_ray.config.base import Settings
from memo_ray.errors import StoreError

FOLDER = "registry"
NAME = r"[a-z0-9][a-z0-9_-]{0,60}"


class Lineage(Settings):
    """Where a version came from."""

    done: str
    """What made it: `trained`, `merged`, `added CORPUS` or `forgot DOCUMENT`."""
    parent: str = ""
    """The version that it takes the place of, as NAME@VERSION; empty for a first one."""


class Entry(Settings):
    """What is registered of a memory; `Memory` adds what the registry gives it."""

    name: str = Field(pattern=f"^{NAME}$")
    kind: Literal["full", "lora"] = "full"
    path: str
    """The model's folder, relative to the run's folder."""
    artifact: str
    """Digest of the artefact that the folder belongs to."""
    base: str
    """What `training.base` named."""
    base_digest: str
    corpora: tuple[str, ...] = Field(min_length=1)
    recall: float | None = None
    """On held-out questions, 0..1; None when there were none."""
    recipe: str = ""
    """The merge's id; empty for a memory of one corpus."""
    lineage: Lineage

    @field_validator("path")
    @classmethod
    def path_lies_in_the_run(cls, path: str) -> str:
        """Refuse a folder elsewhere, so that an entry cannot have another model served."""
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts:
            raise ValueError("must be a folder below the run's, relative to it")
        return path


class Memory(Entry):
    """One version of a memory."""

    version: int = Field(ge=1)
    made: str
    """When it was registered, UTC."""
    withdrawn: str = ""
    """When it was withdrawn, UTC; empty while it stands."""

    @property
    def reference(self) -> str:
        """NAME@VERSION, what `parse` reads."""
        return f"{self.name}@{self.version}"


class Registry:
    """The registered memories of the run whose folder is `place`."""

    def __init__(self, place: Place) -> None:
        self._run = place
        self._place = place.child(FOLDER)

    def add(self, entry: Entry) -> Memory:
        """Register a memory under the next free version of its name; safe against other writers.

        The newest version is returned as it is when it has the same folder of the same artefact, so that a command
        that is run again registers nothing twice.
        """
        standing = self.newest(entry.name)
        if standing is not None and (standing.artifact, standing.path) == (entry.artifact, entry.path):
            return standing
        known = self.versions(entry.name)
        version = known[-1].version + 1 if known else 1
        while True:
            memory = Memory(**dict(entry), version=version, made=_now())
            if self._place.put_new(_object(memory.name, version), _json(memory)):
                return memory
            version += 1

    def get(self, name: str, version: int | None = None) -> Memory:
        """That version, or the newest that stands. Raises StoreError for one that is not there or was withdrawn."""
        known = self.versions(name)
        if not known:
            names = ", ".join(self.names()) or "none yet"
            raise StoreError(f"{name}: no memory of that name is registered; there are {names}")
        for memory in reversed(known):
            if memory.version == version or (version is None and not memory.withdrawn):
                if memory.withdrawn:
                    raise StoreError(f"{memory.reference}: was withdrawn at {memory.withdrawn}; use another version")
                return memory
        if version is None:
            raise StoreError(f"{name}: every version was withdrawn; `memo run` makes another")
        raise StoreError(f"{name}@{version}: there is no such version; the newest is {known[-1].reference}")

    def names(self) -> list[str]:
        """Every name that has a version, sorted."""
        return [name for name in self._place.folders() if self.versions(name)]

    def versions(self, name: str) -> list[Memory]:
        """Every version of a name, withdrawn ones too, oldest first. Raises StoreError for a damaged entry."""
        _check(name)
        numbers = [re.fullmatch(rf"{name}/(\d+)\.json", found) for found in self._place.names(f"{name}/")]
        return [self._read(name, version) for version in sorted(int(found[1]) for found in numbers if found)]

    def newest(self, name: str) -> Memory | None:
        """The newest version that stands; None when there is none."""
        return next((memory for memory in reversed(self.versions(name)) if not memory.withdrawn), None)

    def withdraw(self, name: str, version: int) -> None:
        """Hand this version out no more; nothing happens when it was withdrawn before. Raises StoreError."""
        memory = next((memory for memory in self.versions(name) if memory.version == version), None)
        if memory is None:
            raise StoreError(f"{name}@{version}: there is no such version to withdraw")
        if not memory.withdrawn:
            self._place.put(_object(name, version), _json(memory.model_copy(update={"withdrawn": _now()})))

    def location(self, memory: Memory) -> Location:
        """The memory's model folder, for tasks on other nodes."""
        run = self._run
        return run.folder / memory.path if isinstance(run, LocalPlace) else f"{run.url}/{memory.path}"

    def _read(self, name: str, version: int) -> Memory:
        where = _object(name, version)
        try:
            return Memory.model_validate_json(self._place.get(where) or b"")
        except ValidationError as error:
            raise StoreError(
                f"{self._place.url}/{where}: is damaged ({error.error_count()} errors); remove it, and "
                "`memo run` registers the run's memory again"
            ) from None


def parse(reference: str) -> tuple[str, int | None]:
    """`NAME` or `NAME@VERSION` as name and version; None: the newest. Raises StoreError."""
    found = re.fullmatch(rf"({NAME})(?:@([1-9]\d{{0,8}}))?", reference)
    if not found:
        raise StoreError(f"{reference}: write a memory as NAME or NAME@VERSION, for example law@2")
    return found[1], int(found[2]) if found[2] else None


def _check(name: str) -> None:
    if not re.fullmatch(NAME, name):
        raise StoreError(f"{name}: is no name of a memory; use a-z, 0-9, - and _")


def _object(name: str, version: int) -> str:
    return f"{name}/{version}.json"


def _json(memory: Memory) -> bytes:
    return memory.model_dump_json(indent=1).encode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
