"""Keeps lines of Ray off the terminal that alarm and mean nothing to a user; everything else passes."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SERVE_ENDS = r"Task ServeController\.(graceful_shutdown|listen_for_change) failed"
"""Serve's handles still ask a controller that has just ended."""

RESTARTABLE = rb"has constructor arguments in the object store and max_restarts > 0"
"""Ray Data keeps an actor's arguments for as long as its pool lives, so the restart that this doubts works."""


def quiet_ray() -> None:
    """Tell Ray which lines to drop. Must run before the process imports it."""
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", SERVE_ENDS)


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
