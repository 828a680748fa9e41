"""Engines that share a GPU start one after the other: vLLM measures the GPU's free memory while it starts."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager

from memo_ray.artifacts.cache import cache_folder, locked


def turn_on_gpu(devices: str) -> AbstractContextManager[None]:
    """Wait until no other engine of this user starts on `devices` (CUDA_VISIBLE_DEVICES), and keep others waiting.

    What another engine takes meanwhile, vLLM would count as its own: its KV cache would come out too small, or the
    start would fail. The lock ends with its process. Raises EnvironmentProblem where the lock cannot be made.
    """
    name = "-".join(part.strip() for part in devices.replace("/", "-").split(",")) or "all"
    # The host's name, too: machines may share a home.
    return locked(cache_folder() / f"gpu-{socket.gethostname()}-{name}.lock")
