"""One line for each answer: who asked which model, when, what came of it and what it cost. Never a text or a key.

The lines are JSON objects in the log of the gateway's replica, for whatever collects the logs.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from memo_ray.serving.failures import api_error

logger = logging.getLogger("ray.serve.memo_audit")
# Below Serve's own logger, whose handlers write a replica's log file.

Item = TypeVar("Item")

LEFT = 499
"""The status of a request whose client went away, as nginx has it."""


@dataclass
class Entry:
    """A request while it is answered. `usage`: OpenAI's usage object, once it is known."""

    request_id: str
    key: str
    model: str
    stream: bool
    began: float = field(default_factory=time.monotonic)
    usage: dict[str, Any] = field(default_factory=dict)
    stop_reason: str = ""

    def note(self, answer: dict[str, Any], usage: dict[str, Any]) -> None:
        """Keep what an answer of the protocol came to."""
        self.usage, self.stop_reason = usage, str(answer.get("stop_reason", ""))

    def write(self, status: int, code: str | None = None) -> None:
        """The line."""
        line = {
            "id": self.request_id,
            "key": self.key,
            "model": self.model,
            "stream": self.stream,
            "status": status,
            "code": code,
            "stop_reason": self.stop_reason or None,
            "input_tokens": self.usage.get("prompt_tokens"),
            "output_tokens": self.usage.get("completion_tokens"),
            "seconds": round(time.monotonic() - self.began, 3),
        }
        logger.info("%s", json.dumps({name: value for name, value in line.items() if value is not None}))


@contextmanager
def audited(entry: Entry) -> Iterator[Entry]:
    """Write the line for what happens inside, whatever it is."""
    try:
        yield entry
    except (asyncio.CancelledError, GeneratorExit):
        entry.write(LEFT, "client_left")
        raise
    except Exception as error:
        told = api_error(error)
        entry.write(told.status, told.code)
        raise
    else:
        entry.write(200)


async def audited_lines(lines: AsyncIterator[Item], entry: Entry) -> AsyncGenerator[Item, None]:
    """A stream's lines; its line is written when it ends, fails or is given up."""
    with audited(entry):
        try:
            async for line in lines:
                yield line
        finally:
            close = getattr(lines, "aclose", None)
            if close is not None:
                await close()
