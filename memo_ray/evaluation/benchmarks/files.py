"""The files of a benchmark: JSON, JSON Lines and id lists, plain or gzipped, with errors that name file and line.

Also where they come from: a folder, an s3:// prefix, or the Hugging Face hub; what cannot be had is said in one
line with its address.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from memo_ray.artifacts.place import local_copy
from memo_ray.errors import CorpusError, StoreError

HUB = {
    "musique": ("osunlp/HippoRAG_2", ["musique.json"]),
    "browsecomp_plus": ("Tevatron/browsecomp-plus", ["data/test-*.parquet"]),
}
"""Benchmark → data set on the Hugging Face hub, and the files of it that are needed."""
ADDRESSES = {
    "musique": "https://github.com/StonyBrookNLP/musique",
    "browsecomp_plus": "https://huggingface.co/datasets/Tevatron/browsecomp-plus",
    "narrativeqa": "https://github.com/google-deepmind/narrativeqa (run its download_stories.sh)",
}
"""Where a person finds a benchmark's files."""


def folder_of(kind: str, path: str | None, key: str) -> Path:
    """The folder or file that holds benchmark `kind`: `path`, or a copy of it in the cache. `key` is named in errors.

    Raises CorpusError with the address at which the files can be had.
    """
    address = ADDRESSES[kind]
    if path is None:
        return from_hub(kind, key)
    try:
        found = local_copy(path)
    except StoreError as error:
        raise CorpusError(f"{key}: {error}, or get the benchmark from {address}") from None
    if not found.exists():
        raise CorpusError(f"{key}: {path}: no such file or folder; get the benchmark from {address}")
    return found


def from_hub(kind: str, key: str) -> Path:
    """The benchmark's files from the Hugging Face hub, kept in the hub's own cache."""
    if kind not in HUB:
        raise CorpusError(f"{key}: is not on a hub in its original form; get it from {ADDRESSES[kind]} and name it")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    name, patterns = HUB[kind]
    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CorpusError(
            f"{key}: {name} cannot be had from the hub ({reason[:120]}); download {ADDRESSES[kind]} and name its folder"
        ) from None


def one_of(folder: Path, patterns: tuple[str, ...], key: str, address: str) -> Path:
    """The first file of `folder` that matches a pattern; a file stands for itself. Raises CorpusError."""
    if folder.is_file():
        return folder
    for pattern in patterns:
        for path in sorted(folder.rglob(pattern)):
            return path
    raise CorpusError(f"{key}: {folder}: holds none of {', '.join(patterns)}; get the benchmark from {address}")


def read_bytes(path: Path) -> bytes:
    """A file's bytes, unzipped where its name ends in .gz. Raises CorpusError."""
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"{path}: cannot be read ({error}); download it again") from None


def read_json(path: Path) -> Any:
    """A JSON file's value. Raises CorpusError."""
    try:
        return json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path}: is not JSON ({error})") from None


def read_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Number and value of each row: of JSON Lines, or of one JSON list."""
    text = read_bytes(path).decode("utf-8", errors="replace")
    if text.lstrip().startswith("["):
        yield from enumerate(read_json(path), start=1)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, error


def read_ids(path: str | None, key: str) -> list[str] | None:
    """The ids in a JSON list, or the keys of a JSON object. Raises CorpusError."""
    if path is None:
        return None
    value = read_json(local_copy(path))
    if not isinstance(value, list | dict) or not all(isinstance(name, str) for name in value):
        raise CorpusError(f"{key}: {path}: must be a JSON list of ids, or an object whose keys they are")
    return list(value)


def read_id_lists(path: str | None, key: str) -> dict[str, list[str]] | None:
    """A JSON object of lists of ids. Raises CorpusError."""
    if path is None:
        return None
    value = read_json(local_copy(path))
    right = isinstance(value, dict) and all(isinstance(ids, list) for ids in value.values())
    if not right or not all(isinstance(name, str) for ids in value.values() for name in ids):
        raise CorpusError(f"{key}: {path}: must be a JSON object of question id to a list of document ids")
    return value
