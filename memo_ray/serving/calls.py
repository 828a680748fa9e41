"""Calls from one Serve deployment to another. Cancelling one cancels it in the other replica too, so that vLLM stops
generating. Ray's own failures come out as GenerationError; what a replica raised on purpose comes out as it was raised.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from typing import Any

from grpc import RpcError, StatusCode
from grpc.aio import AioRpcError
from ray.exceptions import RayActorError, RayTaskError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle

from memo_ray.errors import GenerationError
from memo_ray.models.chat import ChatRequest

CALL_FAILURES = (RayTaskError, RayActorError, TaskCancelledError, RayServeException, RpcError)


def direct(handle: DeploymentHandle) -> DeploymentHandle:
    """The handle for calls from here straight to the replica over gRPC, with Ray's token and TLS where the cluster has
    them. A third of what Ray's actor calls cost, for messages of up to 4 MiB."""
    return handle.options(_by_reference=False)


async def reply_of(response: Any, name: str) -> Any:
    """What the deployment `name` returned (`response`: a DeploymentResponse). Cancelling the wait cancels the call."""
    try:
        return await response
    except asyncio.CancelledError as error:
        response.cancel()
        if is_cancelled():
            raise
        raise failure_of(error, name) from error
    except BackPressureError:
        raise
    except CALL_FAILURES as error:
        raise failure_of(error, name) from error


async def items_of(handle: DeploymentHandle, method: str, name: str, *arguments: Any) -> AsyncGenerator[Any, None]:
    """What the deployment's generator yields. Closing the iterator cancels the call."""
    response: Any = handle.options(method_name=method, stream=True).remote(*arguments)
    finished = False
    try:
        async for item in response:
            yield item
        finished = True
    except BackPressureError:
        finished = True
        raise
    except CALL_FAILURES as error:
        finished = True
        raise failure_of(error, name) from error
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise failure_of(error, name) from error
    finally:
        if not finished:
            response.cancel()


def is_cancelled() -> bool:
    """Whether who waits is cancelled. A call that was cancelled in the other replica ends with the same exception."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def failure_of(error: BaseException, name: str) -> Exception:
    """The error that the replica raised, or one clear line for a replica that is gone."""
    if isinstance(error, RayTaskError):
        return error.cause if isinstance(error.cause, Exception) else error
    if isinstance(error, DeploymentUnavailableError):
        return GenerationError(f"{name}: the deployment could not be started; see its replica's log")
    if isinstance(error, AioRpcError) and error.code() == StatusCode.RESOURCE_EXHAUSTED:
        return GenerationError(
            f"{name}: the question or the answer is longer than calls between Serve's replicas may be "
            "(RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH, 4 MiB)"
        )
    return GenerationError(f"{name}: its replica ended while it answered; Serve starts another one, ask again")


def fields_of(request: ChatRequest) -> dict[str, Any]:
    """A request's fields as they are: `asdict` would copy its schema, which is about to be pickled anyway."""
    return {field.name: getattr(request, field.name) for field in dataclasses.fields(request)}
