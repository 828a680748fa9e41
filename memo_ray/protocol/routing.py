"""Which of several memories a sub-question goes to, and whose answer counts; the drivers ask a Router for both.

The state machine stays out of it: its Ask is for `ANY` memory, and the Reply names the one that answered, so a
transcript replays without a router. `memo_ray.citations.routing` has a router over the memories' reflections.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

ANY = "*"
"""The memory of an Ask that a router sends on; no memory can be called so."""


class Router(Protocol):
    """Knows what each memory was trained on. Pure: the same question always goes the same way."""

    def choose(self, question: str) -> tuple[str, ...]:
        """The names of the memories to ask, the likeliest first; at least one."""
        ...

    def keep(self, question: str, answers: Mapping[str, str]) -> str:
        """The name of the memory whose answer counts, out of `answers` by name (not empty)."""
        ...
