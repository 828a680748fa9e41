"""How the gateway tells a client what went wrong: OpenAI's error object with the right status (docs/serving.md)."""

from __future__ import annotations

import json

from fastapi import Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from memo_ray.errors import MemoError, PromptRefused
from memo_ray.serving.backend import Busy
from memo_ray.serving.draining import Door
from memo_ray.serving.openai_api import ApiError, invalid

RETRY_AFTER_S = 1


def api_error(error: Exception) -> ApiError:
    """What a client is told of `error`. A bug is not explained to clients; its traceback is in the replica's log."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, Busy):
        return ApiError(429, str(error), "rate_limit_error", "overloaded", retry_after_s=RETRY_AFTER_S)
    if isinstance(error, TimeoutError):
        return ApiError(
            504, "no answer within the server's time limit (serving.request_timeout_s)", "server_error", "timeout"
        )
    if isinstance(error, PromptRefused):
        return invalid(str(error))
    if isinstance(error, MemoError):
        return ApiError(502, str(error), "server_error", "model_failed")
    if isinstance(error, HTTPException):
        return invalid(str(error.detail), status=error.status_code)
    return ApiError(500, "internal error; the server's log says more", "server_error", "internal")


HEADERS: dict[int, dict[str, str]] = {
    401: {"WWW-Authenticate": "Bearer"},
    503: {"Retry-After": str(RETRY_AFTER_S)},
    504: {"x-should-retry": "false"},
}
"""By status. A client that asked again after 504 would double the work that was too slow already."""


def stopping() -> ApiError:
    """What new requests are told while the gateway ends."""
    return ApiError(503, "the server is stopping; ask again in a moment", "server_error", "stopping")


async def error_response(_: Request, error: Exception) -> Response:
    """FastAPI's handler of every failure."""
    return error_reply(api_error(error))


def new_door() -> Door:
    """The gateway's way in; once closing it answers 503."""
    return Door(error_reply(stopping()))


def error_reply(told: ApiError) -> Response:
    """The whole response for `told`."""
    body = json.dumps(told.body(), ensure_ascii=False)
    headers = dict(HEADERS.get(told.status, {}))
    if told.retry_after_s is not None:
        headers["Retry-After"] = str(told.retry_after_s)
    return Response(body, told.status, headers, "application/json")
