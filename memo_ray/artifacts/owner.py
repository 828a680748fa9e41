"""Which process holds something, so that another one can tell whether it still lives, and a person can end it.

A process's number means something only on its machine, since its boot, in its namespace; and a number is used again.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def this_process() -> dict[str, Any]:
    """Host, boot, namespace, number and start of this process, as JSON holds them."""
    return {**_here(), "process": os.getpid(), "started": _started(os.getpid())}


def is_here(owner: Mapping[str, Any]) -> bool:
    """Whether `owner` is, or was, a process whose number means something to this one."""
    return all(owner.get(key) == value for key, value in _here().items())


def is_alive(owner: Mapping[str, Any]) -> bool:
    """Whether `owner` is a process of this machine that runs still."""
    started = _started(owner.get("process", 0)) if is_here(owner) else ""
    return bool(started) and started == owner.get("started")


def named(owner: Mapping[str, Any]) -> str:
    """`owner` for an error."""
    return f"process {owner['process']} on {owner['host']}" if owner.get("process") else "another process"


def _here() -> dict[str, str]:
    # Two containers of one host have different namespaces.
    return {"host": socket.gethostname(), "boot": _boot(), "space": _process_space()}


def _process_space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started(process: int) -> str:
    """When a process began, in ticks since the boot; empty when there is none, or only what nobody has waited for."""
    try:
        state, *rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else rest[18]
