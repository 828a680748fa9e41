"""A vLLM engine in a Ray actor behind a plain object: many prompts in, replies in order, weights swapped in place."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from memo_ray.artifacts.place import Location, drop_copy, local_folder
from memo_ray.config.models import VllmModel
from memo_ray.errors import EngineDied, EnvironmentProblem
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.models.opening import Opener, open_model
from memo_ray.models.ray_limits import largest_cluster


def actor_resources(config: VllmModel, engines: int = 1) -> dict[str, Any]:
    """`num_cpus` and `num_gpus` that Ray reserves for an actor which owns one engine, of so many at once.

    With GPUs in the cluster, or to be had from its autoscaler, an engine takes as many as its settings say; without,
    it takes a core by name and shares the machine, since its worker process binds its own threads. Raises
    EnvironmentProblem when the cluster can never hold the engines: their actors would wait without end.
    """
    there, wanted = largest_cluster().get("GPU", 0), engines * config.gpus
    if 1 <= there < wanted:
        raise EnvironmentProblem(
            f"GPUs: the cluster has at most {there:g}, and {engines} engine(s) of {config.model} with "
            f"{config.gpus} each need {wanted}; lower `replicas` or `tensor_parallel_size`, or add nodes"
        )
    if there >= 1:
        return {"num_cpus": 1, "num_gpus": config.gpus}
    return {"num_cpus": 1, "num_gpus": 0}


class EngineActor:
    """The actor's side; methods run on its event loop."""

    async def start(self, config: VllmModel, model: Location | None, opener: Opener = open_model) -> float:
        """Start the engine on the folder at `model`; the seconds that it took, a download included."""
        begun = time.monotonic()
        folder = None if model is None else await asyncio.to_thread(local_folder, model)
        self._model: Any = await opener(config, folder, None)
        return time.monotonic() - begun

    async def is_there(self) -> None:
        """Nothing: for a caller who asks whether the actor lives."""

    async def chat(self, requests: list[ChatRequest]) -> list[ChatReply]:
        """Replies in the order of `requests`, all worked on at once."""
        return list(await asyncio.gather(*(self._model.chat(request) for request in requests)))

    async def reload(self, model: Location) -> None:
        """Swap the weights in place."""
        await self._model.reload_weights(local_folder(model))

    async def drop_copy(self, model: Location) -> None:
        """Remove what this node downloaded of it."""
        drop_copy(model)

    async def close(self) -> None:
        """Stop the engine's processes."""
        await self._model.close()


class Engine:
    """One engine somewhere in the cluster. `close` it; it is also a context manager."""

    def __init__(self, actor: Any) -> None:
        self._actor: Any = actor
        self._open = True

    @classmethod
    def start(cls, config: VllmModel, model: Location) -> Engine:
        """Start an engine on the folder at `model` and wait until it answers."""
        remote: Any = ray.remote(EngineActor)
        actor = remote.options(max_restarts=0, **actor_resources(config)).remote()
        engine = cls(actor)
        engine._call(actor.start.remote(config, model))
        return engine

    def chat(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        """Replies in the order of `requests`, all worked on at once. Raises the first one's GenerationError."""
        return self._call(self._actor.chat.remote(list(requests)))

    def reload(self, model: Location) -> None:
        """Swap the weights for another checkpoint of the same architecture; about a second for a small model."""
        self._call(self._actor.reload.remote(model))

    def drop_copy(self, model: Location) -> None:
        """Remove the engine's node's copy of weights that came from S3 and are not asked again."""
        self._call(self._actor.drop_copy.remote(model))

    def close(self) -> None:
        """Stop the engine and its actor; safe to call again."""
        if not self._open:
            return
        self._open = False
        # A dead or hung engine is ended just below.
        with suppress(RayActorError, RayTaskError, GetTimeoutError):
            ray.get(self._actor.close.remote(), timeout=60)
        ray.kill(self._actor)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, reference: Any) -> Any:
        try:
            return ray.get(reference)
        except RayTaskError as error:
            raise error.as_instanceof_cause() from None
        except RayActorError as error:
            raise EngineDied(f"the engine's actor died ({error}); look at the log above, often memory") from error
