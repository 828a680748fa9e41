"""The door in front of the gateway."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from memo_ray.serving.draining import Door

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def slow(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers after a moment, but health at once."""
    await asyncio.sleep(0 if scope["path"] == "/healthz" else 0.1)
    await PlainTextResponse("done")(scope, receive, send)


def client_of(door: Door) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(door.guard(slow)), base_url="http://gateway")


async def test_who_is_inside_may_finish_and_nobody_else_comes_in() -> None:
    door = Door(PlainTextResponse("closed", 503))
    http = client_of(door)
    inside = asyncio.create_task(http.get("/"))
    await asyncio.sleep(0.02)
    closing = asyncio.create_task(door.close(5))
    await asyncio.sleep(0)
    assert (await http.get("/")).status_code == 503
    assert (await http.get("/healthz")).status_code == 200
    assert not closing.done()
    assert (await inside).text == "done"
    await asyncio.wait_for(closing, 1)


async def test_it_waits_no_longer_than_it_is_told() -> None:
    door = Door(PlainTextResponse("closed", 503))
    inside = asyncio.create_task(client_of(door).get("/"))
    await asyncio.sleep(0.02)
    await asyncio.wait_for(door.close(0.01), 0.05)
    assert (await inside).text == "done"
    await asyncio.wait_for(door.close(0), 0.05)
