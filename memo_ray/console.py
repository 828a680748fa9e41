"""What a command prints: one line a stage while it works and when it is done, and nothing else on the way.

On a terminal the running stage shows a spinner with its elapsed time and progress; elsewhere (a log, CI) each
stage prints a line when it starts and when it ends. With MEMO_LOG=json every line is a JSON object (`json_log.py`).
`--json` output goes to standard output, this to standard error.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from memo_ray import json_log
from memo_ray.artifacts.store import Artifact
from memo_ray.rows import Reject


class Console:
    """The terminal of one command."""

    def __init__(self, quiet: bool = False) -> None:
        self.rich = RichConsole(stderr=True, quiet=quiet, highlight=False)
        self._json = json_log.wanted()
        self._told = 0.0

    def say(self, text: str) -> None:
        """A plain line; `text` is never read as markup."""
        if not self._in_json(text):
            self.rich.print(text, markup=False)

    def reused(self, name: str, artifact: Artifact) -> None:
        """A stage that was finished before."""
        self.done(name, None, artifact.record.rows)

    def finished(self, name: str, artifact: Artifact) -> None:
        """A stage that has just been finished."""
        self.done(name, artifact.record.cost.get("seconds", 0), artifact.record.rows)
        if artifact.record.facts.get("question_rejects"):
            self.say(set_aside(artifact))

    def done(self, name: str, seconds: float | None, rows: Mapping[str, int]) -> None:
        """What there is now under `name`: made in `seconds`, or (none) reused."""
        json_log.label(name)
        fields = {} if seconds is None else {"seconds": seconds}
        if self._in_json("reused" if seconds is None else "finished", **fields, rows=rows):
            return
        took = "reused   " if seconds is None else f"{seconds:6.0f} s "
        self.rich.print(f"  [green]✓[/] {name:<22} {took} {counted(rows)}", soft_wrap=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show that `name` is being made, until the block ends."""
        json_log.label(name)
        if self._json or not self.rich.is_terminal:
            self.say("started" if self._json else f"  … {name}")
            yield
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self.rich, transient=True) as progress:
            self._task = progress, progress.add_task(name, total=None, note="")
            try:
                yield
            finally:
                self._task = None

    _task: tuple[Progress, object] | None = None

    def progress(self, done: int, total: int | None, note: str = "") -> None:
        """How far the running stage is: `done` of `total` items, and a note such as a rate."""
        if self._task is not None:
            bar, task = self._task
            bar.update(task, completed=done, total=total, note=note)  # type: ignore[arg-type]
        elif self._json and (done == total or time.monotonic() > self._told + json_log.EVERY_S):
            self._told = time.monotonic()
            self._in_json("progress", done=done, total=total, note=note)

    def _in_json(self, message: str, **fields: Any) -> bool:
        """Write a JSON line, if such lines are wanted and this console is not quiet; whether they are wanted."""
        if self._json and not self.rich.quiet:
            json_log.write(message, **fields)
        return self._json


def counted(rows: Mapping[str, int]) -> str:
    """Row counts of tables, for example `12 documents, 12 chunks`."""
    return ", ".join(f"{count:,} {table}" for table, count in rows.items() if count)


def set_aside(artifact: Artifact) -> str:
    """How many of a corpus's questions cannot be asked, and what is wrong with the first of them."""
    row = next(row for row in artifact.rows("rejects", Reject) if row.step != "documents")
    first = row.detail if row.detail.startswith(row.row_id) else f"{row.row_id}: {row.detail}"
    return f"    {artifact.record.facts['question_rejects']:,} set aside of what was to be asked; the first: {first}"
