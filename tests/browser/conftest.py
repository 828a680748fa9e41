"""Debian's Chromium, driven through Playwright, on pages of a gateway in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.browser.chromium import browser
from tests.browser.scripted_gateway import KEYS, Scripted, Served, tables


@dataclass
class Visit:
    """A page, and what went wrong in it or left for another address."""

    page: Any
    url: str
    problems: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


Visits = Callable[..., Visit]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browser() as started:
        yield started


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Scripted:
    return Scripted(tables(tmp_path_factory.mktemp("tables")))


@pytest.fixture(scope="module")
def open_gateway(backend: Scripted) -> Iterator[Served]:
    served = Served(backend)
    yield served
    served.stop()


@pytest.fixture(scope="module")
def keyed_gateway(backend: Scripted) -> Iterator[Served]:
    served = Served(backend, KEYS)
    yield served
    served.stop()


@pytest.fixture
def visit(chromium: Any, open_gateway: Served) -> Iterator[Visits]:
    """Opens a page in a fresh profile; at the end nothing may have failed in it, or been asked of another address."""
    opened: list[tuple[Any, Visit]] = []

    def to(url: str = "", width: int = 1280, height: int = 900, scheme: str = "light") -> Visit:
        url = url or open_gateway.url
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        context.set_default_timeout(60_000)
        made = Visit(context.new_page(), url)
        made.page.on("pageerror", lambda error: made.problems.append(str(error)))
        made.page.on("console", lambda line: made.problems.append(line.text) if line.type == "error" else None)
        made.page.on("request", lambda request: made.requests.append(request.url))
        opened.append((context, made))
        made.page.goto(url)
        made.page.wait_for_selector("#model option, dialog[open]", state="attached")
        return made

    yield to
    for context, made in opened:
        owned = made.page.evaluate("window.owned")
        context.close()
        assert owned is None, "a text of a model or a document ran as a script"
        assert [line for line in made.problems if "status of 4" not in line] == []
        assert [url for url in made.requests if not url.startswith((made.url, "blob:"))] == []
