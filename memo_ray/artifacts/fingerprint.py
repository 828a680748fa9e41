"""What makes a result the same: a hash over the settings and inputs that change it, and nothing else.

Paths, worker counts and package versions stay out, so a run resumes after it was moved or resized.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

READ_BYTES = 4 * 2**20
"""Read of a file at once. Beside threads that transfer, each piece waits for its turn: in pieces of 256 KiB, Python's
own, the digest of a shard took six times as long."""


def fingerprint(stage: str, version: int, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """SHA-256 (64 hexadecimal digits) of a stage's name and version, its semantic config and input digests.

    Raises TypeError for a value that has no stable JSON form.
    """
    stable = {"stage": stage, "version": version, "config": config, "inputs": inputs}
    text = json.dumps(stable, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    digest, buffer = hashlib.sha256(), memoryview(bytearray(max(1, min(path.stat().st_size, READ_BYTES))))
    with path.open("rb", buffering=0) as file:
        while size := file.readinto(buffer):
            digest.update(buffer[:size])
    return digest.hexdigest()


def files_digest(digests: Mapping[str, str]) -> str:
    """One digest over several files' names and digests, whatever their order."""
    return hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()
