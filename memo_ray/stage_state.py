"""What became of a stage that is not finished: who makes it now, or why its last attempt failed.

`attempt.json` lies beside an artefact's `progress/` from an attempt's beginning until its success; when the attempt
fails it holds the time and one line that says why, without a key and without a text of the documents.
"""

from __future__ import annotations

import json
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memo_ray.artifacts.place import Place, is_remote
from memo_ray.artifacts.store import RECORD
from memo_ray.errors import MemoError
from memo_ray.workspace import Workspace

NOTE = "attempt.json"
COMMAND = "command"
"""A file of the run: with which command its last stage was begun."""

LONGEST = 300
SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
SECRET = re.compile(
    r"\b(?:sk|hf|ghp|pk|rk|memo)[-_][\w-]{12,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|(?<=[Bb]earer )\S+|(?<=://)[^/\s@]+(?=@)"
)
QUOTED = re.compile(r"\(.*\)")
"""What an endpoint has answered, which may be a part of what it was asked."""


@contextmanager
def watched(run: Workspace, name: str, fingerprint: str) -> Iterator[Place]:
    """Keep, beside the progress of the artefact that the block makes, why it failed; nothing once it succeeded.

    Yields the artefact's place, for `begin` once the block holds its lock.
    """
    home = run.store.place.child(f"{name}/{fingerprint[:16]}")
    try:
        yield home
    except Exception as error:
        # Of an outage of the store nothing can be kept. And another process that makes it, or has made it, is no
        # failure of the stage.
        with suppress(OSError):
            if home.holder() is None and home.get(RECORD) is None:
                begin(run, home, error=reason(error), failed=now())
        raise
    with suppress(OSError):
        home.remove(NOTE)


def begin(run: Workspace, home: Place, **ended: str) -> None:
    """Note that an artefact is being made, or how that `ended`, and by which command."""
    home.put(NOTE, json.dumps({"written": now(), **ended}).encode())
    command = b"memo submit" if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else b"memo run"
    if run.place.get(COMMAND) != command:
        run.place.put(COMMAND, command)


def unfinished(run: Workspace, name: str) -> dict[str, Any]:
    """The state of an artefact that is not finished: `running` with `host` and `process`, `failed` with `error` and
    the time, `begun` (an attempt was killed or interrupted) or `not begun`."""
    found = run.store.place.child(name)
    for folder in found.folders():
        with suppress(PermissionError):  # a lock that this user may not read
            if owner := found.child(folder).holder():
                return {"state": "running", "host": owner.get("host", ""), "process": owner.get("process", 0)}
    fingerprint = run.current().get(name)
    last = json.loads((fingerprint and found.child(fingerprint[:16]).get(NOTE)) or b"{}")
    if "error" in last:
        return {"state": "failed", "error": last["error"], "failed": last["failed"]}
    return {"state": "begun" if last or run.store.begun(name) else "not begun"}


def next_command(run: Workspace, rows: list[dict[str, Any]]) -> str:
    """What goes on with a run whose stages stand as `rows` say."""
    states = {row["state"] for row in rows}
    if states <= {"finished"}:
        return f"memo serve {run.where}"
    if "running" in states:
        return f"memo status {run.where}"
    settings = f"{run.where}/run.yaml" if not is_remote(run.place.url) else "run.yaml"
    return f"{(run.place.get(COMMAND) or b'memo run').decode()} {settings}"


def reason(error: BaseException) -> str:
    """One line on why something failed. Of what is no MemoError, a bug, only its type and place: its message may quote
    anything."""
    cause = getattr(error, "cause", None)  # Ray's error around that of a task
    if isinstance(cause, BaseException):
        return reason(cause)
    if not isinstance(error, MemoError):
        frames = traceback.extract_tb(error.__traceback__)
        where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        return f"a bug: {type(error).__name__}{where}; its traceback is in the log"
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    if "endpoint" in line:
        line = QUOTED.sub("(…)", line)
    secrets = (value for key, value in os.environ.items() if SECRET_NAME.search(key) and len(value) >= 8)
    for secret in sorted(secrets, key=len, reverse=True):
        line = line.replace(secret, "…")
    line = SECRET.sub("…", line)
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…"


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
