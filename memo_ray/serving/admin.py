"""GET and POST /admin/memories: which versions of which memories are served, and another one in the place of one.

Only for keys with `admin: true`; for any other key the path does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from memo_ray.errors import ConfigError, StoreError
from memo_ray.serving.backend import Backend
from memo_ray.serving.keys import Key, key_of
from memo_ray.serving.openai_api import invalid
from memo_ray.serving.openai_requests import parse_swap, read_body

PATH = "/admin/memories"


def add_admin(app: FastAPI, backend: Backend, keys: Sequence[Key], max_request_bytes: int) -> None:
    """Add the routes to the gateway."""

    def admit(request: Request) -> None:
        if not key_of(keys, request.headers.get("authorization", "")).admin:
            raise HTTPException(404, "Not Found")

    @app.get(PATH)
    async def memories(request: Request) -> Response:
        admit(request)
        return JSONResponse({"memories": await backend.table()})

    @app.post(PATH)
    async def swap(request: Request) -> Response:
        admit(request)
        memory = parse_swap(await read_body(request, max_request_bytes))
        try:
            await backend.swap(memory)
        except (ConfigError, StoreError) as error:
            raise invalid(str(error), "memory", 404) from None
        return JSONResponse({"memories": await backend.table()}, 202)
