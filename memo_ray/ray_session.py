"""A Ray cluster for the length of a command: the one at RAY_ADDRESS, or a private one on this machine.

A private cluster has its own temporary folder, no dashboard, and ends with the command.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray
import ray.data  # configures its logger when it is imported, and would undo what is set before

from memo_ray.errors import EnvironmentProblem

OBJECT_STORE_BYTES = 512 * 2**20
"""Enough for a laptop's run; tables travel through it in blocks, models never do."""


@contextmanager
def session(log_folder: Path) -> Iterator[None]:
    """Connect to RAY_ADDRESS, or start and afterwards stop a local cluster.

    When the block fails, the cluster's logs are kept in `log_folder`. Raises EnvironmentProblem when Ray
    cannot be reached or started.
    """
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS")
    if address:
        with _failures(f"RAY_ADDRESS={address}: no Ray cluster answers there; check the address, or unset it"):
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        try:
            yield
        finally:
            ray.shutdown()
        return
    # AF_UNIX paths hold 107 bytes, so the session must lie directly under a short folder.
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"memo-{os.getpid()}-", dir="/tmp"))
    # A cluster that only this process's children reach needs no token; say so, since Ray would write one to HOME.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Ray Data's own bars and plans would drown the command's; its log keeps them.
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        with _failures("Ray did not start on this machine; `memo doctor` looks for the cause"):
            ray.init(
                _temp_dir=str(folder),
                include_dashboard=False,
                log_to_driver=bool(os.environ.get("MEMO_RAY_LOGS")),
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
                num_cpus=max(2, os.cpu_count() or 1),
            )
        yield
    except BaseException:
        _keep_logs(folder, log_folder)
        raise
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers() -> None:
    """Remove the session folders of this user's processes that were killed before they could."""
    for folder in Path("/tmp").glob("memo-*-*"):
        owner = folder.name.split("-")[1]
        if owner.isdecimal() and folder.stat().st_uid == os.getuid() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _keep_logs(session_folder: Path, log_folder: Path) -> None:
    latest = session_folder / "session_latest" / "logs"
    if latest.is_dir():
        shutil.rmtree(log_folder, ignore_errors=True)
        shutil.copytree(latest, log_folder, symlinks=True, ignore_dangling_symlinks=True)


@contextmanager
def _failures(message: str) -> Iterator[None]:
    try:
        yield
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise EnvironmentProblem(f"{message} ({error})") from error
