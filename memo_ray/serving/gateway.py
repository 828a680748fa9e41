"""The HTTP gateway: OpenAI's chat completions, POST /v1/answers, what memories were made from, and the console.

`create_app` makes a FastAPI application over any Backend. An Entrance checks the bearer key with its scope and rate;
the routes check sizes and time, and turn every failure into OpenAI's error object with the right status;
docs/serving.md has the table.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from memo_ray.errors import MemoError
from memo_ray.serving.admin import add_admin
from memo_ray.serving.audit import Entry, audited
from memo_ray.serving.backend import Backend, Busy
from memo_ray.serving.browsing import add_browsing
from memo_ray.serving.draining import Door
from memo_ray.serving.failures import error_response
from memo_ray.serving.keys import Key, Rates, key_of
from memo_ray.serving.openai_api import ApiError, unknown_model
from memo_ray.serving.openai_requests import parse_answer, parse_chat, read_body
from memo_ray.serving.openapi import add_schema
from memo_ray.serving.page import add_page
from memo_ray.serving.replies import (
    Defaults,
    answer_events,
    memo_chunks,
    memo_completion,
    model_chunks,
    model_completion,
    new_id,
    streaming,
    total_usage,
)

WELL = frozenset({"HEALTHY", "UPSCALING", "DOWNSCALING", "UPDATING"})


@dataclass(frozen=True)
class GatewaySettings:
    """What the gateway allows and assumes. `keys`: whom it lets in; empty: everybody.

    `models`: those that are always there. `routed`: the model `memo` asks every memory that the key may ask.
    """

    keys: tuple[Key, ...]
    models: tuple[str, ...]
    defaults: Defaults
    max_request_bytes: int
    timeout_s: float
    routed: bool = False


@dataclass(frozen=True)
class Caller:
    """Who asks, and the models and memories that there are for them; the default memory first."""

    key: Key
    models: tuple[str, ...]
    memories: tuple[str, ...]

    def meant_by(self, model: str, routed: bool) -> tuple[str, ...]:
        """The memories that a question for `model`, one of `models`, is put to; "" is the default one."""
        memory = model.partition("/")[2]
        return self.memories if routed and not memory else (memory,)


def caller_of(key: Key, models: tuple[str, ...], served: tuple[str, ...]) -> Caller:
    """What there is for a key, of the `models` that are always there and the memories `served` (see Backend)."""
    named = [f"{kind}/{memory}" for memory in served for kind in ("memo", "memory")]
    known = tuple(model for model in (*models, *named) if key.may_ask(model))
    # Who may ask `memo` may ask the default memory; the others by their own names only.
    routes = (m for n, m in enumerate(served) if not n or ("@" not in m and f"memo/{m}" in known))
    return Caller(key, known, tuple(routes))


class Entrance:
    """Who may come in, over HTTP and gRPC alike; the keys' rates are counted here."""

    def __init__(self, backend: Backend, settings: GatewaySettings) -> None:
        self.backend = backend
        self.settings = settings
        self._rates = Rates()

    async def admit(self, authorization: str, *, counted: bool = True) -> Caller:
        """Who asks with this Authorization header. `counted`: against the key's rate. Raises ApiError 401 and 429."""
        key = key_of(self.settings.keys, authorization)
        if counted:
            self._rates.take(key, time.monotonic())
        # The same work for a name that is unknown and for one that is out of scope, so that time tells nothing.
        return caller_of(key, self.settings.models, await self.backend.memories())


def create_app(entrance: Entrance, door: Door) -> FastAPI:
    """The gateway's routes; requests come in by `entrance` and `door`."""
    app = FastAPI(title="memo-ray", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(door.guard)
    started = int(time.time())
    backend, settings = entrance.backend, entrance.settings

    async def admit(request: Request, *, counted: bool = True) -> Caller:
        return await entrance.admit(request.headers.get("authorization", ""), counted=counted)

    @app.get("/healthz")
    async def healthz() -> Response:
        states = await backend.health()
        good = all(state in WELL for state in states.values())
        body = {"status": "ok" if good else "unhealthy", "deployments": states}
        return JSONResponse(body, 200 if good else 503)

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        caller = await admit(request, counted=False)
        return JSONResponse({"object": "list", "data": [model_card(name, started) for name in caller.models]})

    @app.get("/v1/models/{name:path}")
    async def model(name: str, request: Request) -> Response:
        caller = await admit(request, counted=False)
        if name not in caller.models:
            raise unknown_model(name, caller.models)
        return JSONResponse(model_card(name, started))

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        caller = await admit(request)
        asked = parse_chat(await read_body(request, settings.max_request_bytes), caller.models)
        of_memo = asked.kind == "memo"
        if of_memo:
            asked.question()
        memories = caller.meant_by(asked.model, settings.routed)
        entry = Entry(new_id("chatcmpl"), caller.key.name, asked.model, asked.stream)
        if asked.stream:
            stages = memo_chunks(backend, asked, memories, entry)
            lines = stages if of_memo else model_chunks(backend, asked, settings.defaults, entry)
            return await streaming(lines, settings.timeout_s, entry)
        with audited(entry):
            async with asyncio.timeout(settings.timeout_s):
                if of_memo:
                    return JSONResponse(await memo_completion(backend, asked, memories, entry))
                return JSONResponse(await model_completion(backend, asked, settings.defaults, entry))

    @app.post("/v1/answers")
    async def answers(request: Request) -> Response:
        caller = await admit(request)
        asked = parse_answer(await read_body(request, settings.max_request_bytes), caller.models)
        memories = caller.meant_by(asked.model, settings.routed)
        entry = Entry(new_id("answer"), caller.key.name, asked.model, asked.stream)
        if asked.stream:
            lines = answer_events(backend, asked.question, memories, entry)
            return await streaming(lines, settings.timeout_s, entry, "error")
        with audited(entry):
            async with asyncio.timeout(settings.timeout_s):
                answer = await backend.answer(entry.request_id, asked.question, memories)
                entry.note(answer, total_usage(answer))
                return JSONResponse(answer)

    async def reader(request: Request) -> Caller:
        return await admit(request, counted=False)

    add_browsing(app, backend, reader)
    add_page(app)
    add_schema(app)
    add_admin(app, backend, settings.keys, settings.max_request_bytes)
    for kind in (ApiError, Busy, TimeoutError, MemoError, HTTPException, Exception):
        app.add_exception_handler(kind, error_response)
    return app


def model_card(name: str, created: int) -> dict[str, Any]:
    """A model as GET /v1/models lists it."""
    return {"id": name, "object": "model", "created": created, "owned_by": "memo-ray"}
