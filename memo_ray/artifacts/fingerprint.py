"""What makes a result the same: a hash over the settings and inputs that change it, and nothing else.

Paths, worker counts and package versions stay out, so a run resumes after it was moved or resized.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def fingerprint(stage: str, version: int, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """SHA-256 (64 hexadecimal digits) of a stage's name and version, its semantic config and input digests.

    Raises TypeError for a value that has no stable JSON form.
    """
    stable = {"stage": stage, "version": version, "config": config, "inputs": inputs}
    text = json.dumps(stable, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_digest(digests: Mapping[str, str]) -> str:
    """One digest over several files' names and digests, whatever their order."""
    return hashlib.sha256(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()
