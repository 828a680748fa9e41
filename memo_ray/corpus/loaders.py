"""Finds the files of a corpus: paths, folders and globs in, a sorted list of named files out; and their digests.

Nothing is parsed here. A file's name is its path below the folder it was found in, so ids and digests stay the
same wherever the folder lies.
"""

from __future__ import annotations

import errno
import glob
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from memo_ray.artifacts.fingerprint import file_digest, files_digest
from memo_ray.config.corpus import CorpusConfig
from memo_ray.corpus.formats import FORMATS, missing_modules
from memo_ray.errors import CorpusError

MAGIC = frozenset("*?[")
OUR_FOLDERS = (("run.yaml", "artifacts"), ("attempts", "lock"))
"""What a run's folder and an artefact's hold: output that may lie below the documents' folder, and is none of them."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to read. `given` is how the user would write it; `name` is unique in the corpus."""

    path: Path
    given: str
    name: str
    document_id: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a corpus in reading order, and how many others were passed over, by extension."""

    files: list[SourceFile]
    skipped: dict[str, int]


@dataclass
class _Found:
    """What a walk collects: for each real file, where it was found and how many last parts of that make its name."""

    files: dict[Path, tuple[Path, int, str]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)

    def add(self, path: Path, root: Path, given: str, explicit: bool) -> None:
        suffix = path.suffix.lower()
        if suffix not in FORMATS:
            if explicit:
                raise CorpusError(f"{given}: {suffix or 'such'} files cannot be read; give one of {', '.join(FORMATS)}")
            self.skipped[suffix or "(none)"] += 1
            return
        missing = missing_modules(suffix)
        if missing:
            raise CorpusError(
                f"{given}: reading {suffix} needs {', '.join(missing)}; "
                "pip install 'memo-ray[documents]', or leave such files out of paths"
            )
        self.files.setdefault(path.resolve(), (path, len(path.relative_to(root).parts), given))


def list_files(config: CorpusConfig) -> Listing:
    """Every file that `config.paths` names, each once, in the order of the paths and sorted within each.

    Folders are read with their subfolders; hidden files, other formats and memo-ray's own artefacts are passed
    over, and `config.questions` is never a document. Raises CorpusError for a path that does not exist, a file
    given by name that cannot be read, a missing extra, and an empty result.
    """
    found = _Found()
    for given in config.paths:
        _collect(given, found)
    if config.questions is not None:
        found.files.pop(Path(config.questions).expanduser().resolve(), None)
    if not found.files:
        others = f" (only {_counts(found.skipped)})" if found.skipped else ""
        raise CorpusError(f"{', '.join(config.paths)}: holds no document{others}; give files of {', '.join(FORMATS)}")
    places = [(path, depth) for path, depth, _ in found.files.values()]
    names = _unique_names(places)
    ids = _document_ids(names)
    files = [
        SourceFile(path, given, name, document_id, _size(path))
        for (path, _, given), name, document_id in zip(found.files.values(), names, ids, strict=True)
    ]
    return Listing(files, dict(sorted(found.skipped.items())))


def source_digests(config: CorpusConfig) -> dict[str, str]:
    """SHA-256 digests of what the corpus is made of: `documents`, and `questions` (empty without a file).

    They cover each file's name below its folder and its bytes, and depend neither on where the folder lies nor on
    the order of `paths`. Raises CorpusError like `list_files`, and for a questions file that is not there.
    """
    files = list_files(config).files
    with ThreadPoolExecutor(max_workers=4) as pool:
        digests = list(pool.map(_digest, (file.path for file in files)))
    named = {file.name: digest for file, digest in zip(files, digests, strict=True)}
    return {"documents": files_digest(named), "questions": _questions_digest(config.questions)}


def _questions_digest(given: str | None) -> str:
    if given is None:
        return ""
    try:
        return file_digest(Path(given).expanduser())
    except FileNotFoundError:
        raise CorpusError(f"{given}: no such questions file; correct questions, or leave it out") from None
    except OSError as error:
        raise CorpusError(f"{given}: the questions file cannot be read ({error.strerror})") from None


def _digest(path: Path) -> str:
    """A file that cannot be opened is one bad document, not the end of the run; reading it makes the reject."""
    try:
        return file_digest(path)
    except OSError as error:
        return f"unreadable: {errno.errorcode.get(error.errno or 0, 'unknown')}"


def _collect(given: str, found: _Found) -> None:
    if "://" in given:
        raise CorpusError(f"{given}: only paths of this machine are read; copy or mount it and give the folder")
    expanded = os.path.expanduser(given)
    path = Path(os.path.abspath(expanded))
    try:
        if path.is_dir():
            for file in sorted(_walk(path, path.resolve(), set()), key=lambda file: file.parts):
                found.add(file, path, os.path.join(given, file.relative_to(path)), explicit=False)
        elif path.is_file():
            found.add(path, path.parent, given, explicit=True)
        elif MAGIC & set(given):
            _collect_glob(expanded, found)
        else:
            raise CorpusError(f"{given}: no such file or folder; correct paths (relative ones start at {Path.cwd()})")
    except OSError as error:
        where = error.filename or given
        raise CorpusError(f"{where}: cannot be listed ({error.strerror}); check its permissions") from None


def _collect_glob(pattern: str, found: _Found) -> None:
    """Files that match; folders that match are not entered, `**` matches through them."""
    parts = Path(pattern).parts
    fixed = next(index for index, part in enumerate(parts) if MAGIC & set(part))
    above, below = Path(*parts[:fixed]), parts[fixed:]
    root = Path(os.path.abspath(above))
    if "**" in below and root.is_dir():
        # The standard library's ** follows links in circles, so this walks by itself.
        walked = (file.relative_to(root) for file in _walk(root, root.resolve(), set()))
        matches = [str(above / file) for file in walked if _matches(file.parts, below)]
    else:
        matches = [match for match in glob.iglob(pattern) if os.path.isfile(match)]
    if not matches:
        raise CorpusError(f"{pattern}: matches no file; correct paths (relative ones start at {Path.cwd()})")
    for match in sorted(matches, key=lambda match: Path(match).parts):
        found.add(Path(os.path.abspath(match)), root, match, explicit=False)


def _matches(parts: tuple[str, ...], pattern: tuple[str, ...]) -> bool:
    if not pattern or not parts:
        return not parts and set(pattern) <= {"**"}
    if pattern[0] == "**":
        return _matches(parts, pattern[1:]) or _matches(parts[1:], pattern)
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _walk(folder: Path, root: Path, seen: set[Path]) -> Iterator[Path]:
    """The visible files below `folder`. Links out of `root` are followed once, links back into it never."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith((".", "~$")):
            continue
        path = folder / entry.name
        if not entry.is_dir():
            if entry.is_file():
                yield path
            continue
        if any(all((path / name).exists() for name in marks) for marks in OUR_FOLDERS):
            continue
        if entry.is_symlink():
            target = path.resolve()
            if target.is_relative_to(root) or target in seen or root.is_relative_to(target):
                continue
            seen.add(target)
        yield from _walk(path, root, seen)


def _unique_names(places: list[tuple[Path, int]]) -> list[str]:
    """For each path its last `depth` parts, and as many more as it takes to be unlike every other."""
    depths = [depth for _, depth in places]
    while True:
        names = [Path(*path.parts[-depth:]).as_posix() for (path, _), depth in zip(places, depths, strict=True)]
        count = Counter(names)
        if len(count) == len(names):
            return names
        depths = [depth + (count[name] > 1) for name, depth in zip(names, depths, strict=True)]


def _document_ids(names: list[str]) -> list[str]:
    """Names without their extensions where that leaves them unlike, whole names otherwise."""
    stems = [name.removesuffix(Path(name).suffix) for name in names]
    count = Counter(stems)
    ids = [stem if count[stem] == 1 else name for stem, name in zip(stems, names, strict=True)]
    return ids if len(set(ids)) == len(ids) else names


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _counts(skipped: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix}" for suffix, count in sorted(skipped.items()))
