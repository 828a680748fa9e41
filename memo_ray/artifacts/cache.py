"""Where this machine keeps what it can make or fetch again, and folders that die with their process."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from memo_ray.errors import EnvironmentProblem

SCRATCH = "memo-scratch-"
UNHELD_S = 10.0
"""A scratch folder that is younger is left alone: its process may not have got to hold it yet."""


def cache_folder() -> Path:
    """Where memo-ray keeps what it can make again: $MEMO_CACHE, or memo-ray below the user's cache folder."""
    base = os.environ.get("MEMO_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "memo-ray"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder for the length of a block; those of processes that were killed are removed first."""
    clear_scratch()
    folder = Path(tempfile.mkdtemp(prefix=SCRATCH))
    try:
        # Held by this process and dies with it, so that a later one can tell.
        with _held(folder, wait=True):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def clear_scratch() -> None:
    """Remove the scratch folders on this machine whose processes are gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        # A new one is not held for a moment after it was made.
        with suppress(OSError), _held(folder, wait=False):
            if time.time() - folder.stat().st_mtime > UNHELD_S:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path, *, wait: bool) -> Iterator[None]:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(opened)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, which dies with its process; waits for whoever holds it.

    Raises EnvironmentProblem where it cannot be made; a link in its place is not followed.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EnvironmentProblem(
            f"cache {path.parent}: cannot be written ({error.strerror}); set MEMO_CACHE to another folder"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        # Said and not left to the closing: a process that was forked meanwhile would go on holding the lock.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)
