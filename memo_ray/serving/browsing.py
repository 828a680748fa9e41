"""GET /v1/documents, /v1/reflections, /v1/spans: what a memory was made from, page by page, read only.

For keys with `documents: true`. What may be read is decided by the models that the key may ask: a memory outside of its
scope gives the same 404 as one that does not exist.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from memo_ray.citations.shelf import LONGEST, Sort
from memo_ray.serving.backend import Backend, Listed, NoLedger
from memo_ray.serving.keys import Key
from memo_ray.serving.openai_api import ApiError, invalid, unknown_model
from memo_ray.serving.openai_requests import validated

MOST = 200
"""Rows of a page."""

FARTHEST = 2**31 - 1

PRIVATE = {"Cache-Control": "no-store"}
"""No cache on the way keeps what a key was needed for."""


class Query(BaseModel):
    """What each of them takes. `model`: any that the key may ask but `executive`, as GET /v1/models lists them."""

    model_config = ConfigDict(extra="forbid")

    model: str = "memo"


class Paged(Query):
    """A page of a list."""

    offset: int = Field(default=0, ge=0, le=FARTHEST)
    limit: int = Field(default=50, ge=1, le=MOST)


class DocumentsQuery(Paged):
    """The query of GET /v1/documents."""

    contains: str = Field(default="", max_length=200)
    """Text that the title or the id holds, in any case."""
    sort: Sort = "corpus"
    """`recall`: the least recalled ones first."""


class ReflectionsQuery(Paged):
    """The query of GET /v1/reflections."""

    document_id: str


class SpanQuery(Query):
    """The query of GET /v1/spans. Offsets count characters of the document's text."""

    document_id: str
    start: int = Field(default=0, ge=0, le=FARTHEST)
    end: int = Field(default=0, ge=0, le=FARTHEST)
    around: int = Field(default=400, ge=0, le=LONGEST)
    """Characters to be shown before and behind."""


QUERIES: dict[Listed, type[Query]] = {
    "documents": DocumentsQuery,
    "reflections": ReflectionsQuery,
    "spans": SpanQuery,
}


class Known(Protocol):
    """Who asks, and the models that there are for them."""

    @property
    def key(self) -> Key:
        """Whose key it is."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """What the key may ask."""
        ...


def add_browsing(app: FastAPI, backend: Backend, admit: Callable[[Request], Awaitable[Known]]) -> None:
    """Add the routes to the gateway. `admit` says who asks, or raises."""

    def add(what: Listed, kind: type[Query]) -> None:
        @app.get(f"/v1/{what}", name=what)
        async def look(request: Request) -> Response:
            caller = await admit(request)
            if not caller.key.documents:
                # Before any name is looked at, so that it tells nothing of what there is.
                raise ApiError(
                    403, "this key may not read documents; set `documents: true` for it in serving.keys_file",
                    "permission_error", "documents_not_allowed",
                )  # fmt: skip
            query = validated(kind, dict(request.query_params)).model_dump()
            return JSONResponse(await found(backend, caller, what, query), headers=PRIVATE)

    for what, kind in QUERIES.items():
        add(what, kind)


async def found(backend: Backend, caller: Known, what: Listed, query: dict[str, Any]) -> dict[str, Any]:
    """The page that was asked for. Raises ApiError 400, 404."""
    model = query.pop("model")
    if model not in caller.models:
        raise unknown_model(model, caller.models)
    kind, _, memory = model.partition("/")
    if kind == "executive":
        raise invalid("model: the executive was made from no documents of yours; name a memory", "model")
    try:
        body = await backend.browse(memory, what, query)
    except NoLedger:
        message = f"{model} is served without its documents; serve a run, or name its `ledgers`"
        raise ApiError(404, message, "invalid_request_error", "no_documents", "model") from None
    if body is None:
        message = f"there is no document {query['document_id'][:100]!r} here"
        raise ApiError(404, message, "invalid_request_error", "document_not_found", "document_id")
    return body
