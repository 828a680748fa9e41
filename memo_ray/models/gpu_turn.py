"""Engines that share a GPU start one after the other: vLLM measures the GPU's free memory while it starts."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from memo_ray.errors import EnvironmentProblem


@contextmanager
def turn_on_gpu(devices: str) -> Iterator[None]:
    """Wait until no other engine of this user starts on `devices` (CUDA_VISIBLE_DEVICES), and keep others waiting.

    What another engine takes meanwhile, vLLM would count as its own: its KV cache would come out too small, or the
    start would fail. The lock ends with its process. Raises EnvironmentProblem where the lock cannot be made.
    """
    name = "-".join(part.strip() for part in devices.replace("/", "-").split(",")) or "all"
    path = Path(tempfile.gettempdir()) / f"memo-ray-{os.getuid()}-gpu-{name}.lock"
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise EnvironmentProblem(f"{path}: cannot be opened ({error.strerror}); remove it or set TMPDIR") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        # Said and not left to the closing: the engine's processes are forked, and would go on holding the lock.
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)
