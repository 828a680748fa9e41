"""A Ray cluster of this process alone, for the length of a block."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def local_cluster(num_cpus: int = 2) -> Iterator[str]:
    """Its address. It has its own temporary folder, no dashboard, and a small object store.

    Its processes know what the environment said when it began, an S3 server's address for one.
    """
    import ray

    from memo_ray.ray_session import leave

    # Under /tmp by name: Ray's sockets lie below it and an AF_UNIX path has at most 107 bytes.
    folder = tempfile.mkdtemp(prefix="r-", dir="/tmp")
    ray.init(
        address="local",
        num_cpus=num_cpus,
        object_store_memory=256 * 2**20,
        include_dashboard=False,
        configure_logging=False,
        _temp_dir=folder,
    )
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        leave()
        shutil.rmtree(folder, ignore_errors=True)
