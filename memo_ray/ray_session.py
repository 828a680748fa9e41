"""A Ray cluster for the length of a command: the one at RAY_ADDRESS, or a private one on this machine.

A private cluster has its own temporary folder, no dashboard, and ends with the command.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import ray.data  # configures its logger when it is imported, and would undo what is set before
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from memo_ray.artifacts.record import package_versions
from memo_ray.errors import EnvironmentProblem

CONNECT_S = 10.0
NODE_S = 120.0
"""How long a node may take to start a worker that says which packages it has."""

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
    # Ray Data's own bars and plans would drown the command's; its log keeps them.
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    address = os.environ.get("RAY_ADDRESS")
    if address:
        check_reachable(address)
        with _failures(f"RAY_ADDRESS={address}: no Ray cluster answers there; check the address, or unset it"):
            ray.init(log_to_driver=False, logging_level=logging.ERROR)
        try:
            check_nodes(address)
            yield
        finally:
            leave()
        return
    # AF_UNIX paths hold 107 bytes, so the session must lie directly under a short folder.
    remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"memo-{os.getpid()}-", dir="/tmp"))
    # A cluster that only this process's children reach needs no token; say so, since Ray would write one to HOME.
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
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
        leave()
        shutil.rmtree(folder, ignore_errors=True)


def leave() -> None:
    """Leave Ray, and a local cluster's folder to be removed: this process may start another one.

    Ray Data's logger keeps its file open for as long as the process lives. When somebody configures logging anew, as
    servers do, the file is closed, and opened again for the next line: in the folder of a cluster that has ended.
    """
    ray.shutdown()
    for handler in logging.getLogger("ray.data").handlers:
        handler.close()


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
        said = " ".join(str(error).split())
        if versions := re.findall(r"Ray: (\S+) Python: (\S+)", said):
            there, here = (f"Ray {ray_version} on Python {python}" for ray_version, python in versions[:2])
            where, _, _ = message.partition(": ")
            raise EnvironmentProblem(
                f"{where}: the cluster has {there}, this environment {here}; install the same lock on both "
                "(make venv), or run the stages there with `memo submit`"
            ) from error
        raise EnvironmentProblem(f"{message} ({said[:300]})") from error


def check_reachable(address: str) -> None:
    """Raise EnvironmentProblem when nothing listens at `address`: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()
    except OSError as error:
        raise EnvironmentProblem(
            f"RAY_ADDRESS={address}: no Ray cluster answers there ({error.strerror or error}); check the address, or "
            "unset it"
        ) from error


def check_nodes(address: str) -> None:
    """Raise EnvironmentProblem naming a node without memo-ray, or without a package that shapes results here.

    Looked at before any work begins; nodes that an autoscaler brings later are made from the same image.
    """
    wanted = sorted(package_versions())
    looking = {}
    for node in (node for node in ray.nodes() if node["Alive"]):
        there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        look: Any = ray.remote(missing_packages())
        options = {"num_cpus": 0, "scheduling_strategy": there, "max_retries": 0}
        looking[node["NodeID"], node["NodeManagerAddress"]] = look.options(**options).remote(wanted)
    for (node_id, host), answer in looking.items():
        try:
            lacks = ray.get(answer, timeout=NODE_S)
        except GetTimeoutError as error:
            line = f"the node {host} starts no worker within {NODE_S:.0f} s; look at its raylet's log"
            raise EnvironmentProblem(f"RAY_ADDRESS={address}: {line}") from error
        except RayError as error:
            if not any(node["Alive"] for node in ray.nodes() if node["NodeID"] == node_id):
                continue  # taken away meanwhile, as spot nodes are
            said = " ".join(str(error).split())[-200:]
            raise EnvironmentProblem(f"RAY_ADDRESS={address}: the node {host} runs no task ({said})") from error
        if lacks:
            line = f"the node {host} lacks {', '.join(lacks)}; install the same lock and memo-ray on every node"
            raise EnvironmentProblem(f"RAY_ADDRESS={address}: {line}")


def missing_packages() -> Callable[[list[str]], list[str]]:
    """A function that finds which packages a process lacks; made here, so that it travels whole to nodes without us."""

    def look(wanted: list[str]) -> list[str]:
        import importlib.metadata
        import importlib.util

        installed = {str(one.metadata["Name"]).lower() for one in importlib.metadata.distributions()}
        lacks = [name for name in wanted if name not in installed and name != "memo-ray"]
        return lacks + ([] if importlib.util.find_spec("memo_ray") else ["memo-ray"])

    return look
