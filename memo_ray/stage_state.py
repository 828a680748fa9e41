"""What became of a stage that is not finished: who makes it now, or why its last attempt failed.

`attempt.json` lies beside an artefact's `progress/` from an attempt's beginning until its success; when the attempt
fails it holds the time and one line that says why, without a key and without a text of the documents. What ends a
command before any attempt, such as documents or a model that are not there, is kept in the run's `stopped.json`.
"""

from __future__ import annotations

import json
import os
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from memo_ray.artifacts.place import Place
from memo_ray.artifacts.store import RECORD, Attempt
from memo_ray.errors import BeingMade, MemoError
from memo_ray.workspace import Workspace

if TYPE_CHECKING:
    from memo_ray.ray_stages import StageMetrics

NOTE = "attempt.json"
COMMAND = "command"
"""A file of the run: with which command its last stage was begun."""
STOPPED = "stopped.json"
"""A file of the run: when and why the last command that ran its stages ended early."""
P = ParamSpec("P")
T = TypeVar("T")

LONGEST = 300
SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
SECRET = re.compile(
    r"\b(?:sk|hf|ghp|pk|rk|memo)[-_][\w-]{12,}|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|(?<=[Bb]earer )\S+|(?<=://)[^/\s@]+(?=@)"
)
QUOTED = re.compile(r"\(.*\)")
"""What an endpoint has answered, which may be a part of what it was asked."""


class Watch:
    """What is noted of one attempt at the artefact `name` of a run."""

    def __init__(self, run: Workspace, name: str, fingerprint: str) -> None:
        self._run, self._name = run, name
        self._home = run.store.place.child(f"{name}/{fingerprint[:16]}")
        self._attempt: Attempt | None = None
        self._metrics: StageMetrics | None = None

    def begin(self, attempt: Attempt) -> Callable[[float], None]:
        """The attempt holds its lock and begins; gives what is told of the seconds that pass."""
        self._attempt = attempt
        self._note()
        from memo_ray.ray_stages import StageMetrics, connected

        if not connected():
            return lambda seconds: None
        stage, _, corpus = self._name.partition("-")
        self._metrics = StageMetrics(self._run.config.name, stage, corpus)
        return self._metrics.worked

    def succeeded(self) -> None:
        """The artefact is there."""
        if self._metrics and self._attempt:
            self._metrics.finished(self._attempt.rows)
        with suppress(OSError):  # it says nothing any more
            self._home.remove(NOTE)

    def failed(self, error: Exception) -> None:
        """The attempt has ended with `error`."""
        elsewhere = False
        with suppress(OSError):  # of an outage of the store nothing can be kept
            # Another process that makes it, or has made it, is no failure of the stage.
            elsewhere = self._home.holder() is not None or self._home.get(RECORD) is not None
            if not elsewhere:
                self._note(error=reason(error), failed=now())
        if self._metrics:
            self._run.failure_counted = True
            if not elsewhere:
                self._metrics.failed(type(cause_of(error)).__name__)

    def _note(self, **ended: str) -> None:
        self._home.put(NOTE, json.dumps({"written": now(), **ended}).encode())
        note_command(self._run)


def note_command(run: Workspace) -> None:
    """Keep with which command this process works for the run."""
    command = b"memo submit" if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ else b"memo run"
    if run.place.get(COMMAND) != command:
        run.place.put(COMMAND, command)


def noted(work: Callable[Concatenate[Workspace, P], T]) -> Callable[Concatenate[Workspace, P], T]:
    """Have what ends `work` on a run kept in its STOPPED, also where no attempt has begun that could note it."""

    @wraps(work)
    def noting(run: Workspace, *args: P.args, **kwargs: P.kwargs) -> T:
        with suppress(OSError):  # the work itself says what is wrong with the store
            if run.place.get(STOPPED) is not None:
                run.place.remove(STOPPED)
        try:
            return work(run, *args, **kwargs)
        except BeingMade:  # the other process goes on
            raise
        except Exception as error:
            with suppress(OSError):
                run.place.put(STOPPED, json.dumps({"error": reason(error), "failed": now()}).encode())
                note_command(run)
            raise

    return noting


def stopped(run: Workspace, rows: list[dict[str, Any]]) -> dict[str, str]:
    """The `error` that ended the run's last command and when it `failed`; empty unless it says more than `rows` do."""
    found = read_note(run.place, STOPPED)
    told = {row.get("error") for row in rows}
    return {} if found.get("error") in told or any(row["state"] == "running" for row in rows) else found


@contextmanager
def watched(run: Workspace, name: str, fingerprint: str) -> Iterator[Watch]:
    """Note what becomes of the artefact that the block makes; `begin` is for it to call once it holds the lock."""
    watch = Watch(run, name, fingerprint)
    try:
        yield watch
    except Exception as error:
        watch.failed(error)
        raise
    watch.succeeded()


@contextmanager
def attempted(
    run: Workspace,
    name: str,
    stage: str,
    fingerprint: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
) -> Iterator[tuple[Attempt, Callable[[float], None]]]:
    """An attempt at an artefact, on the run's Ray cluster, shown and watched; and what is told of its seconds."""
    with watched(run, name, fingerprint) as watch:
        run.preflight()
        with run.console.stage(name), run.ray():
            run.look_ahead(stage)
            with run.store.attempt(name, stage, fingerprint, config, inputs) as attempt:
                yield attempt, watch.begin(attempt)


def unfinished(run: Workspace, name: str) -> dict[str, Any]:
    """The state of an artefact that is not finished: `running` with `host` and `process`, `failed` with `error` and
    the time, `begun` (an attempt was killed or interrupted) or `not begun`."""
    found = run.store.place.child(name)
    for folder in found.folders():
        with suppress(PermissionError):  # a lock that this user may not read
            if owner := found.child(folder).holder():
                return {"state": "running", "host": owner.get("host", ""), "process": owner.get("process", 0)}
    fingerprint = run.current().get(name)
    last = read_note(found.child(fingerprint[:16]), NOTE) if fingerprint else {}
    if "error" in last:
        return {"state": "failed", "error": last["error"], "failed": last["failed"]}
    return {"state": "begun" if last or run.store.begun(name) else "not begun"}


def read_note(place: Place, name: str) -> dict[str, str]:
    """A note; empty when there is none, or one that is damaged."""
    try:
        return dict(json.loads(place.get(name) or b"{}"))
    except (ValueError, TypeError):
        return {}


def next_command(run: Workspace, rows: list[dict[str, Any]]) -> str:
    """What goes on with a run whose stages stand as `rows` say."""
    states = {row["state"] for row in rows}
    if states <= {"finished"} and not stopped(run, rows):
        return f"memo serve {run.where}"
    if "running" in states:
        return f"memo status {run.where}"
    return f"{(run.place.get(COMMAND) or b'memo run').decode()} {run.where}/run.yaml"


def reason(error: BaseException) -> str:
    """One line on why something failed. Of what is no MemoError, a bug, only its type and place: its message may quote
    anything."""
    error = cause_of(error)
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


def cause_of(error: BaseException) -> BaseException:
    """A task's own error, where Ray has put one of its own around it."""
    cause = getattr(error, "cause", None)
    return cause_of(cause) if isinstance(cause, BaseException) else error


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
