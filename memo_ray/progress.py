"""How a long stage tells how far it is, without knowing who shows it."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with items done, items in all, and a short note such as a rate."""


def unheard(done: int, total: int, note: str) -> None:
    """For callers that show nothing."""
