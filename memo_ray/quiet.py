"""Keeps what a library prints out of a command's output: Ray's lines that mean nothing, banners before JSON."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from typing import Any

SERVE_ENDS = r"Task ServeController\.(graceful_shutdown|listen_for_change) failed"
"""Serve's handles still ask a controller that has just ended."""

RESTARTABLE = rb"has constructor arguments in the object store and max_restarts > 0"
"""Ray Data keeps an actor's arguments for as long as its pool lives, so the restart that this doubts works."""

_RESULTS: ContextVar[list[str] | None] = ContextVar("results", default=None)
"""Results that wait for the end of `json_alone`."""


def quiet_libraries() -> None:
    """Tell Ray which lines to drop, and Hugging Face's libraries to draw no bars over the command's own lines.

    Must run before the process imports them. HF_HUB_DISABLE_PROGRESS_BARS=0 brings the bars of downloads back.
    """
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", SERVE_ENDS)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


@contextmanager
def json_alone() -> Iterator[None]:
    """Until the block ends, whatever prints to standard output prints to standard error, native code and child
    processes included; what `print_json` was given stands on standard output afterwards, and nothing else."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    results: list[str] = []
    token = _RESULTS.set(results)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _RESULTS.reset(token)
        # What was printed through the stream itself, by whoever had taken it before.
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        for text in results:
            print(text)


def print_json(found: Any) -> None:
    """Print a command's result as indented JSON; in `json_alone` when the block ends."""
    text = json.dumps(found, indent=1)
    results = _RESULTS.get()
    if results is None:
        print(text)
    else:
        results.append(text)


@contextmanager
def without_lines(pattern: bytes) -> Iterator[None]:
    """Drop the lines that hold `pattern` from standard error, native code's included, until the block ends."""
    wanted = re.compile(rb"^[^\n]*" + pattern + rb"[^\n]*\n?", re.MULTILINE)
    sys.stderr.flush()
    kept = os.dup(2)
    reading, writing = os.pipe()
    os.dup2(writing, 2)
    os.close(writing)

    def forward() -> None:
        while chunk := os.read(reading, 65_536):
            rest = wanted.sub(b"", chunk)
            while rest:
                rest = rest[os.write(kept, rest) :]

    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        # The pipe's last writer is gone with that, unless a child has inherited it: it is not waited for.
        thread.join(timeout=1)
        if not thread.is_alive():
            os.close(reading)
            os.close(kept)
