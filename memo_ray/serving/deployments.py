"""Two of the classes that Ray Serve runs: a model (memory, executive), and the gateway in front.

Plain dictionaries go between them, so that only a model's replica imports its engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.grpc_util import RayServegRPCContext
from ray.serve.handle import DeploymentHandle

from memo_ray.artifacts.place import Location, local_folder
from memo_ray.config.models import ModelConfig, OpenAIModel
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.models.chat import ChatModel, ChatRequest
from memo_ray.models.opening import Opener, open_model
from memo_ray.models.sources import check_folder, resolve
from memo_ray.serving.failures import new_door
from memo_ray.serving.gateway import Entrance, GatewaySettings, create_app
from memo_ray.serving.handles import HandleBackend
from memo_ray.serving.rpc.answers_pb2 import Event, Question, Reply
from memo_ray.serving.rpc.service import AnswersService


class ModelDeployment:
    """One model: its own vLLM engine, or a client of an endpoint. `key`: the config key that errors name.

    The weights come by Serve's `user_config`, {"weights": FOLDER}, or None for the model that the config names.
    The first one starts the engine; a later one swaps the weights in place, in every replica without a restart.
    """

    def __init__(self, config: ModelConfig, key: str, opener: Opener = open_model) -> None:
        self._config = config
        self._key = key
        self._opener = opener
        self._model: ChatModel | None = None
        self._weights: str | None = None
        self._adapters: dict[Location, str] = {}
        self._calls: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Condition()
        self._swapping = False
        self._stopping = False

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Start the model, or swap its weights when they changed. Raises ConfigError, GenerationError."""
        weights = user_config["weights"]
        if self._model is None:
            self._model = await self._opener(self._config, self._folder(weights), None)
            self._weights = weights
        elif weights != self._weights:
            await self.reload(weights)

    async def reload(self, weights: str) -> None:
        """Swap this replica's weights for another checkpoint of the same architecture.

        Calls under way are finished first and new ones wait, so no reply comes from two checkpoints. Raises
        ConfigError for an endpoint and for a folder that is not a model; the old weights then stay.
        """
        if isinstance(self._config, OpenAIModel):
            raise ConfigError(f"{self._key}: an endpoint's weights cannot be swapped from here")
        folder = await asyncio.to_thread(local_folder, weights)
        check_folder(folder, self._key)
        async with self._changed:
            await self._changed.wait_for(lambda: not self._swapping)
            self._swapping = True
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._calls)
            await self._ready().reload_weights(folder)  # type: ignore[attr-defined]
            self._weights = weights
        finally:
            async with self._changed:
                self._swapping = False
                self._changed.notify_all()

    async def chat(self, request: dict[str, Any]) -> dict[str, Any]:
        """A ChatRequest's fields in, a ChatReply's out. Raises GenerationError."""
        async with self._call() as model:
            return asdict(await model.chat(await self._request(request)))

    async def chats(
        self, requests: list[dict[str, Any]]
    ) -> AsyncIterator[tuple[int, dict[str, Any] | GenerationError]]:
        """Several requests in one call: the place of each and its reply, or why it has none, as they come."""

        async def reply_to(place: int) -> tuple[int, dict[str, Any] | GenerationError]:
            try:
                return place, await self.chat(requests[place])
            except GenerationError as error:
                return place, error

        tasks = [asyncio.create_task(reply_to(place)) for place in range(len(requests))]
        try:
            for came in asyncio.as_completed(tasks):
                yield await came
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def stream(self, request: dict[str, Any]) -> AsyncIterator[str | dict[str, Any]]:
        """The reply's text piece by piece, then a ChatReply's fields. Raises GenerationError."""
        async with self._call() as model:
            async for piece in model.stream(await self._request(request)):
                yield piece if isinstance(piece, str) else asdict(piece)

    async def load_adapter(self, adapter: Location) -> None:
        """Have a LoRA adapter ready for the first request. Raises ConfigError for one that does not fit."""
        await self._ready().load_adapter(await self._local(adapter))  # type: ignore[attr-defined]

    async def unload_adapter(self, adapter: Location) -> None:
        """Forget a LoRA adapter."""
        await self._ready().unload_adapter(await self._local(adapter))  # type: ignore[attr-defined]

    async def stop(self) -> None:
        """Cancel the calls under way and refuse new ones, so that this replica can end at once."""
        self._stopping = True
        for task in self._calls:
            task.cancel()

    async def check_health(self) -> None:
        """Called by Serve; a replica that raises here three times in a row is replaced."""
        check = getattr(self._model, "check_health", None)
        if check is not None:
            await check()

    def __del__(self) -> Awaitable[None] | None:
        # Serve calls this when a replica stops and awaits what it returns; without it the engine's processes would
        # be killed, not ended. Not a coroutine function, whose coroutine the interpreter would never await.
        model, self._model = self._model, None
        return None if model is None else model.close()

    @asynccontextmanager
    async def _call(self) -> AsyncIterator[ChatModel]:
        task = asyncio.current_task()
        assert task is not None
        if self._stopping:
            raise GenerationError(f"{self._key}: the server is stopping")
        async with self._changed:
            await self._changed.wait_for(lambda: not self._swapping)
            self._calls.add(task)
        try:
            yield self._ready()
        finally:
            self._calls.discard(task)
            if self._swapping:
                async with self._changed:
                    self._changed.notify_all()

    async def _request(self, fields: dict[str, Any]) -> ChatRequest:
        adapter = fields.get("adapter")
        return (
            ChatRequest(**fields) if not adapter else ChatRequest(**{**fields, "adapter": await self._local(adapter)})
        )

    async def _local(self, adapter: Location) -> str:
        """The adapter's folder on this node; the engine knows an adapter by it."""
        if adapter not in self._adapters:
            self._adapters[adapter] = str(await asyncio.to_thread(local_folder, adapter))
        return self._adapters[adapter]

    def _folder(self, weights: str | None) -> Path | None:
        if isinstance(self._config, OpenAIModel):
            return None
        if weights is None:
            # Found here and not by the driver: a hub's cache is this node's own.
            return resolve(self._config.model, self._config.revision, f"{self._key}.model").path
        folder = local_folder(weights)
        check_folder(folder, self._key)
        return folder

    def _ready(self) -> ChatModel:
        if self._model is None:
            raise ConfigError(f"{self._key}: the deployment has no user_config with `weights`")
        return self._model


@serve.ingress()
class GatewayDeployment:
    """What clients speak to. `models`: the handles of the models that may be asked alone; `memories`: of the deployment
    that knows the registered memories, where there are any; `ledger`: of the one memory's, where the registry names
    none."""

    def __init__(
        self,
        models: dict[str, DeploymentHandle],
        protocol: DeploymentHandle,
        settings: GatewaySettings,
        memories: DeploymentHandle | None = None,
        ledger: DeploymentHandle | None = None,
    ) -> None:
        self._entrance = Entrance(HandleBackend(models, protocol, memories, ledger), settings)
        self._door = new_door()
        self._answers = AnswersService(self._entrance, self._door)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_app(self._entrance, self._door)

    async def Answer(self, question: Question, grpc_context: RayServegRPCContext) -> Reply:
        """The native call over gRPC."""
        return await self._answers.answer(question, grpc_context)

    async def Stream(self, question: Question, grpc_context: RayServegRPCContext) -> AsyncIterator[Event]:
        """The same with its stages."""
        async with aclosing(self._answers.stream(question, grpc_context)) as events:
            async for event in events:
                yield event

    async def drain(self, seconds: float) -> None:
        """Refuse new requests, and return once those in hand are answered, or after `seconds`."""
        await self._door.close(seconds)
