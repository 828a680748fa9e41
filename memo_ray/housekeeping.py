"""`memo gc`: what of a run nothing needs any more, on a disk or on S3, with its size; removed only when asked to.

What was half made can be gone on from, and stays: `progress/` of an artefact without a record, and its kept replies.
"""

from __future__ import annotations

import json
import shutil
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from memo_ray.artifacts.cache import cache_folder, locked
from memo_ray.artifacts.local import LocalPlace
from memo_ray.artifacts.place import Place, remote_files
from memo_ray.artifacts.registry import Registry
from memo_ray.artifacts.store import RECORD
from memo_ray.console import Console
from memo_ray.continual.forgotten import read_forgotten
from memo_ray.errors import StoreError
from memo_ray.quiet import print_json
from memo_ray.serving.lineage import tables_of
from memo_ray.workspace import LATER, Workspace, open_run, shown


@dataclass(frozen=True)
class Unneeded:
    """Something that can go. `kind`: attempt, progress, copies, logs, cache or artefact."""

    kind: str
    where: str
    bytes: int
    remove: Callable[[], None]


def gc(options: Namespace) -> int:
    """`memo gc RUN`: list what can go, with sizes; with `--delete` remove it. What is being made is passed over."""
    console = Console(quiet=options.json)
    workspace = open_run(options.run, console)
    found = list(unneeded(workspace, artifacts=options.artifacts, cache=options.cache))
    gone = []
    for one in found if options.delete else ():
        try:
            one.remove()
            gone.append(one)
        except StoreError as error:
            console.say(f"kept: {error}")
    shown_rows = gone if options.delete else found
    total = sum(one.bytes for one in shown_rows)
    if options.json:
        rows = [{"kind": one.kind, "where": one.where, "bytes": one.bytes} for one in shown_rows]
        print_json({"deleted": options.delete, "bytes": total, "found": rows})
        return 0
    for one in shown_rows:
        print(f"{one.bytes / 2**20:10,.1f} MiB  {one.kind:<9} {shown(one.where)}")
    said = "freed" if options.delete else "can go; --delete removes it"
    print(f"{total / 2**20:10,.1f} MiB  {said}" if shown_rows else "nothing to free")
    return 0


def unneeded(workspace: Workspace, *, artifacts: bool = False, cache: bool = False) -> Iterator[Unneeded]:
    """What nothing of the run needs. `artifacts`: also finished artefacts of other settings than its last ones, but for
    those in `needed`. `cache`: also this machine's copies of what any run has fetched."""
    store = workspace.store.place
    kept, last = (needed(workspace), last_ones(workspace)) if artifacts else (set(), {})
    for name in store.folders():
        for folder in store.child(name).folders():
            home = store.child(f"{name}/{folder}")
            content = home.get(RECORD)
            asked_for = artifacts and f"{name}/{folder}" not in kept
            if asked_for and content is not None and other_settings(workspace, name, folder, content, last):
                yield Unneeded("artefact", home.url, size(home, ""), removal(home, ""))
                continue
            yield from left_over(home, content)
    if workspace.logs.is_dir():
        yield of_machine("logs", workspace.logs)
    if cache:
        yield from fetched()


def fetched() -> Iterator[Unneeded]:
    """What this machine has downloaded for any run; who still reads a copy keeps what it has opened."""
    for folder in sorted(folder for folder in (cache_folder() / "s3").glob("*") if folder.is_dir()):

        def remove(folder: Path = folder) -> None:
            with locked(folder.with_suffix(".lock")):  # who downloads into it holds this
                shutil.rmtree(folder, ignore_errors=True)

        yield Unneeded("cache", str(folder), disk_size(folder), remove)
    if (cache_folder() / "benchmarks").is_dir():
        yield of_machine("cache", cache_folder() / "benchmarks")


def needed(workspace: Workspace) -> set[str]:
    """The artefacts, as NAME/FOLDER, of every version of a memory that stands: its weights and what its citations come
    from; and those that a `memo forget` has yet to read."""
    registry, found = Registry(workspace.place), set[str]()
    for memory in (memory for name in registry.names() for memory in registry.versions(name)):
        if not memory.withdrawn:
            cited = [urls for tables in tables_of(workspace.store, memory) for urls in (tables.ledger, tables.chunks)]
            paths = [url.removeprefix(f"{workspace.place.url}/") for url in cited]
            found |= {"/".join(path.split("/")[1:3]) for path in [memory.path, *paths]}
    for row in read_forgotten(workspace.place):
        found |= {f"{name}/{value[:16]}" for name, value in row.fingerprints.items()}
    return found


def last_ones(workspace: Workspace) -> dict[str, tuple[str, str]]:
    """The artefacts of the run's last settings by name: their fingerprints, and digests (empty until finished)."""
    found = {}
    for name, fingerprint in workspace.current().items():
        record = workspace.store.place.get(f"{name}/{fingerprint[:16]}/{RECORD}")
        found[name] = fingerprint, json.loads(record)["digest"] if record is not None else ""
    return found


def left_over(home: Place, content: bytes | None) -> Iterator[Unneeded]:
    """What killed or finished attempts at one artefact have left beside its record."""
    finished = json.loads(content)["attempt"] if content is not None else ""
    for attempt in home.child("attempts").folders():
        if attempt != finished:
            name = f"attempts/{attempt}"
            yield Unneeded("attempt", f"{home.url}/{name}", size(home, name), removal(home, name))
    if not finished:
        return
    if "progress" in home.folders():
        yield Unneeded("progress", f"{home.url}/progress", size(home, "progress"), removal(home, "progress"))
    nearby = home.child("progress").nearby("")
    if not isinstance(home, LocalPlace) and nearby.is_dir():
        yield of_machine("copies", nearby)


def other_settings(
    workspace: Workspace, name: str, folder: str, content: bytes, last: dict[str, tuple[str, str]]
) -> bool:
    """Whether an artefact is certainly not of the run's `last` settings: another one of its name is, they make none, or
    it was made from others than theirs. One whose stage was not reached since the settings changed may still be found
    again."""
    if not workspace.makes(name):
        return name.partition("-")[0] in LATER
    if name in last:
        return last[name][0][:16] != folder
    inputs = json.loads(content)["inputs"]
    return any(last[key][1] not in ("", digest) for key, digest in inputs.items() if key in last)


def removal(home: Place, name: str) -> Callable[[], None]:
    """Removes `name` of an artefact (all of it: empty) while nobody else makes it; raises StoreError when one does."""

    def remove() -> None:
        with home.exclusive("this artefact, so it was left alone"):
            # The record first: without it a half-removed artefact is only an unfinished one.
            for part in (name,) if name else (RECORD, "attempts", "progress", "tracking"):
                home.remove(part)

    return remove


def of_machine(kind: str, folder: Path) -> Unneeded:
    """A folder of this machine's disk."""
    return Unneeded(kind, str(folder), disk_size(folder), lambda: shutil.rmtree(folder, ignore_errors=True))


def size(home: Place, name: str) -> int:
    """Bytes below `name` of a place."""
    if isinstance(home, LocalPlace):
        return disk_size(home.folder / name)
    return sum(one.bytes for one in remote_files(f"{home.url}/{name}".rstrip("/")))


def disk_size(folder: Path) -> int:
    """Bytes of all files below `folder`; of several links to one file in it each once."""
    files: dict[tuple[int, int], int] = {}
    for path in folder.rglob("*"):
        with suppress(OSError):  # gone meanwhile
            known = path.lstat()
            files[known.st_dev, known.st_ino] = known.st_size if not path.is_dir() else 0
    return sum(files.values())
