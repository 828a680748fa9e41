"""Debian's Chromium without a window, driven through Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def browser() -> Iterator[Any]:
    """A browser; skips where there is no Playwright or no Chromium.

    While it is open this thread counts as running an event loop, so keep it no longer than its tests need.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="needs `pip install playwright`")
    found = shutil.which("chromium")
    if not found:
        pytest.skip("needs Chromium: apt install chromium")
    with playwright.sync_playwright() as started:
        # As root, which a container's user often is, Chromium has no sandbox.
        opened = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield opened
        opened.close()
