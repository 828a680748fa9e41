"""Finds the files of a corpus: paths, folders and globs in, a sorted list of named files out; and their digests.

Nothing is parsed here. A file's name is its path below the folder it was found in, so ids and digests stay the
same wherever the folder lies.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from memo_ray.artifacts.fingerprint import file_digest, files_digest
from memo_ray.artifacts.place import REMOTE, RemoteFile, is_remote, open_file, remote_files
from memo_ray.config.corpus import CorpusConfig
from memo_ray.corpus.formats import FORMATS, missing_modules
from memo_ray.errors import CorpusError

MAGIC = frozenset("*?[")
OUR_FOLDERS = (("run.yaml", "artifacts"), ("attempts", "lock"))
"""What a run's folder and an artefact's hold: output that may lie below the documents' folder, and is none of them."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to read. `given` is how the user would write it; `name` is unique in the corpus.

    Of an object on S3, `path` is `/bucket/key`; `url` and the `tag` of its content say where and what it is.
    """

    path: Path
    given: str
    name: str
    document_id: str
    bytes: int
    url: str = ""
    tag: str = ""

    @property
    def where(self) -> str:
        """What `open_file` opens."""
        return self.url or str(self.path)


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a corpus in reading order, and how many others were passed over, by extension."""

    files: list[SourceFile]
    skipped: dict[str, int]


@dataclass
class _Found:
    """What a walk collects: for each real file, where it was found and how many last parts of that make its name.

    `remote` has those on S3, by the path that stands for them.
    """

    files: dict[Path, tuple[Path, int, str]] = field(default_factory=dict)
    remote: dict[Path, RemoteFile] = field(default_factory=dict)
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
        real = path if path in self.remote else path.resolve()
        self.files.setdefault(real, (path, len(path.relative_to(root).parts), given))


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
        _source(path, given, name, document_id, found.remote.get(path))
        for (path, _, given), name, document_id in zip(found.files.values(), names, ids, strict=True)
    ]
    return Listing(files, dict(sorted(found.skipped.items())))


def source_digests(config: CorpusConfig) -> dict[str, str]:
    """SHA-256 digests of what the corpus is made of: `documents`, and `questions` (empty without a file).

    They cover each file's name below its folder and its bytes, and depend neither on where the folder lies nor on the
    order of `paths`; an object on S3 counts by size and tag instead of being read here. Raises CorpusError like
    `list_files`, and for a questions file that is not there.
    """
    files = list_files(config).files
    with ThreadPoolExecutor(max_workers=4) as pool:
        digests = list(pool.map(_digest, files))
    named = {file.name: digest for file, digest in zip(files, digests, strict=True)}
    return {"documents": files_digest(named), "questions": _questions_digest(config.questions)}


def _questions_digest(given: str | None) -> str:
    if given is None:
        return ""
    try:
        with open_file(expanded(given)) as file:
            return hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError:
        raise CorpusError(f"{given}: no such questions file; correct questions, or leave it out") from None
    except OSError as error:
        raise CorpusError(f"{given}: the questions file cannot be read ({error.strerror or error})") from None


def expanded(given: str) -> str:
    """A path or URL as given, with the user's home folder filled in."""
    return given if is_remote(given) else os.path.expanduser(given)


def _source(path: Path, given: str, name: str, document_id: str, remote: RemoteFile | None) -> SourceFile:
    if remote is None:
        return SourceFile(path, given, name, document_id, _size(path))
    return SourceFile(path, given, name, document_id, remote.bytes, remote.url, remote.tag)


def _digest(file: SourceFile) -> str:
    """A file that cannot be opened is one bad document, not the end of the run; reading it makes the reject."""
    if file.url:
        return f"{file.bytes} bytes tagged {file.tag}"
    try:
        return file_digest(file.path)
    except OSError as error:
        return f"unreadable: {errno.errorcode.get(error.errno or 0, 'unknown')}"


def _collect(given: str, found: _Found) -> None:
    if is_remote(given):
        _collect_remote(given, found)
        return
    if "://" in given:
        raise CorpusError(f"{given}: only paths and s3:// addresses are read; copy it to one of them")
    here = os.path.expanduser(given)
    path = Path(os.path.abspath(here))
    try:
        if path.is_dir():
            for file in sorted(_walk(path, path.resolve(), set()), key=lambda file: file.parts):
                found.add(file, path, os.path.join(given, file.relative_to(path)), explicit=False)
        elif path.is_file():
            found.add(path, path.parent, given, explicit=True)
        elif MAGIC & set(given):
            _collect_glob(here, found)
        else:
            raise CorpusError(f"{given}: no such file or folder; correct paths (relative ones start at {Path.cwd()})")
    except OSError as error:
        where = error.filename or given
        raise CorpusError(f"{where}: cannot be listed ({error.strerror}); check its permissions") from None


def _collect_remote(given: str, found: _Found) -> None:
    """The object `given`, or those below it; what would be hidden in a folder is passed over here too."""
    objects = remote_files(given)
    if not objects:
        raise CorpusError(f"{given}: no such object, and none below it; correct paths")
    root = Path("/", given.removeprefix(REMOTE))
    for one in objects:
        path = Path("/", one.url.removeprefix(REMOTE))
        below = path.relative_to(root)
        if any(part.startswith((".", "~$")) for part in below.parts):
            continue
        found.remote[path] = one
        alone = path == root
        found.add(path, root.parent if alone else root, one.url, explicit=alone)


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
