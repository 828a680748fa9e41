"""GET /openapi.json: the gateway's endpoints as an OpenAPI 3.1 schema, the same for every key. It names no memory.

Made from the models that requests are checked with, and from those of `shapes` that tests hold replies to. What only
operators have is left out.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from memo_ray.serving import shapes
from memo_ray.serving.bodies import AnswerBody, ChatBody
from memo_ray.serving.browsing import QUERIES

PATH = "/openapi.json"
JSON, EVENTS = "application/json", "text/event-stream"
REFERENCE = "#/components/schemas/{model}"
SHOWN: dict[str, type[BaseModel]] = {
    "documents": shapes.Documents,
    "reflections": shapes.Reflections,
    "spans": shapes.Span,
}
DESCRIBED = {
    "documents": "The documents that a memory was made from, with what it recalls of each",
    "reflections": "The question-answer pairs that a document had a part in",
    "spans": "A stretch of a document's text",
}
FAILURES = {
    400: "Malformed, or a field that is not supported; the message names it",
    401: "No key, or a wrong one",
    403: "The key may not read documents",
    404: "No such model, or one outside of the key's scope; no such document",
    413: "The body is too large",
    429: "No place, or the key's rate is used up; see Retry-After",
    502: "A model does not answer",
    503: "The server is stopping; see Retry-After",
    504: "No answer within the time limit",
}
STREAMED: dict[str, type[BaseModel] | None] = {"stage": None, "answer": shapes.Answer, "error": shapes.Error}
"""The events of a streamed answer, and what their data are."""
CHUNK = {
    "type": "object",
    "required": ["data"],
    "properties": {
        "data": {"type": "string", "description": "A chat.completion.chunk or an error as JSON; [DONE] at the end"}
    },
}
"""An event of a streamed chat completion. As OpenAPI before 3.2 has it, a stream's schema describes each event."""
ASKING = (400, 401, 404, 413, 429, 502, 503, 504)
LOOKING = (400, 401, 403, 404, 429, 503)


def add_schema(app: FastAPI) -> None:
    """Add the route to the gateway."""

    @app.get(PATH)
    async def schema() -> Response:
        return JSONResponse(openapi())


@cache
def openapi() -> dict[str, Any]:
    """The whole schema, as JSON values."""
    kinds = [AnswerBody, ChatBody, shapes.Answer, shapes.Error, shapes.Models, shapes.ModelCard, *SHOWN.values()]
    _, definitions = models_json_schema([(kind, "validation") for kind in kinds], ref_template=REFERENCE)
    paths = {
        "/healthz": {"get": operation("Whether every deployment can answer", {}, (), open_=True)},
        "/v1/models": {"get": operation("The models that the key may ask", {JSON: of(shapes.Models)}, (401,))},
        "/v1/models/{name}": {
            "get": operation("One of them", {JSON: of(shapes.ModelCard)}, (401, 404), parameters=[in_path("name")])
        },
        "/v1/answers": {
            "post": operation(
                "The whole protocol's answer; with `stream` the events `stage`, then `answer` or `error`",
                {JSON: of(shapes.Answer), EVENTS: {"oneOf": [event(name, data) for name, data in STREAMED.items()]}},
                ASKING,
                body=AnswerBody,
            )
        },
        "/v1/chat/completions": {
            "post": operation(
                "OpenAI's chat completions, for the protocol and the models alone",
                {JSON: {"type": "object"}, EVENTS: CHUNK},
                ASKING,
                body=ChatBody,
            )
        },
    }
    for what, query in QUERIES.items():
        paths[f"/v1/{what}"] = {
            "get": operation(DESCRIBED[what], {JSON: of(SHOWN[what])}, LOOKING, parameters=in_query(query))
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "memo-ray", "version": "1", "description": "Ask a memory model through the protocol."},
        "paths": paths,
        "components": {
            "schemas": definitions["$defs"],
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        # A gateway without keys takes requests without one.
        "security": [{"key": []}, {}],
    }


def of(kind: type[BaseModel]) -> dict[str, str]:
    """A reference to a model's schema."""
    return {"$ref": REFERENCE.format(model=kind.__name__)}


def event(name: str, data: type[BaseModel] | None) -> dict[str, Any]:
    """A server-sent event whose data are JSON; of no model: any object."""
    content = {"type": "object"} if data is None else of(data)
    text = {"type": "string", "contentMediaType": JSON, "contentSchema": content}
    properties = {"event": {"const": name}, "data": text}
    return {"type": "object", "required": ["event", "data"], "properties": properties}


def operation(
    summary: str,
    shown: dict[str, dict[str, Any]],
    failures: tuple[int, ...],
    *,
    parameters: list[dict[str, Any]] | None = None,
    body: type[BaseModel] | None = None,
    open_: bool = False,
) -> dict[str, Any]:
    """One endpoint: what it sends by media type, how it fails, what it takes. `open_`: it needs no key."""
    content = {media: {"schema": schema} for media, schema in shown.items()}
    responses: dict[str, Any] = {"200": {"description": "As asked", **({"content": content} if content else {})}}
    for status in failures:
        error = {"description": FAILURES[status], "content": {JSON: {"schema": of(shapes.Error)}}}
        responses[str(status)] = error
    made: dict[str, Any] = {"summary": summary, "responses": responses}
    if parameters:
        made["parameters"] = parameters
    if body is not None:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": of(body)}}}
    if open_:
        made["security"] = []
        made["responses"]["503"] = {"description": "One of them cannot"}
    return made


def in_path(name: str) -> dict[str, Any]:
    """A parameter of the path."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def in_query(kind: type[BaseModel]) -> list[dict[str, Any]]:
    """The parameters that a query's model stands for."""
    schema = kind.model_json_schema()
    required = set(schema.get("required", ()))
    return [
        {"name": name, "in": "query", "required": name in required, "schema": fields}
        for name, fields in schema["properties"].items()
    ]
