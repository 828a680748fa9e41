"""Progress as JSON lines, for whatever collects the logs of commands and jobs: with `MEMO_LOG=json`.

One object a line on standard error: `time`, `level`, `message`, `run`, `stage`, `corpus`, and what else the line has
(`row`, counts). A worker on another node writes them too, when its driver has handed the labels on.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from typing import Any

EVERY_S = 10.0
"""Between two lines on how far a stage is."""

labels: dict[str, str] = {}
"""`run`, `stage` and `corpus` of what this process is doing."""


def wanted() -> bool:
    """Whether this process was asked for JSON lines."""
    return os.environ.get("MEMO_LOG") == "json"


def handed_on() -> dict[str, str]:
    """The labels for a worker; empty where it shall write nothing."""
    return dict(labels) if wanted() else {}


def label(name: str) -> None:
    """What follows is about the artefact `name`, as `synthesis-law`."""
    labels["stage"], _, labels["corpus"] = name.partition("-")


def write(message: str, level: str = "info", **fields: Any) -> None:
    """One line."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": time, "level": level, **labels, "message": message, **fields}, ensure_ascii=False)
    print(line, file=sys.stderr, flush=True)


def failed(what: str, error: object) -> None:
    """An error that ends a command or a job: a line of text, or of JSON."""
    if wanted():
        write(str(error), "error", command=what)
    else:
        print(f"{what}: {error}", file=sys.stderr)
