"""Starts, reloads and ends the engines of registered memories, each a Serve application beside the gateway's.

A full memory has an engine of its own, LoRA memories of one base share one; both have a ledger of their own. An
application's name is never used twice, so a handle never means another engine than it did.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from ray import serve
from ray.serve import Application
from ray.serve.api import RunTarget
from ray.serve.exceptions import DeploymentUnavailableError

from memo_ray.artifacts.place import Location, local_folder
from memo_ray.artifacts.registry import Memory, Registry
from memo_ray.artifacts.store import Store
from memo_ray.citations.files import LedgerFiles
from memo_ray.config.models import ModelConfig, VllmModel
from memo_ray.config.serving import ReplicaSettings, ServingConfig
from memo_ray.errors import ConfigError
from memo_ray.models.sources import check_folder, resolve
from memo_ray.serving.calls import CALL_FAILURES, failure_of
from memo_ray.serving.handles import handle_of
from memo_ray.serving.ledger import LedgerDeployment
from memo_ray.serving.lineage import tables_of
from memo_ray.serving.options import LIGHT_CPUS, deployment, model_deployment
from memo_ray.serving.roster import Target
from memo_ray.serving.status import APPLICATION, reason_of

LOOK_S = 1.0
"""Seconds between looks at an application that starts."""

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The adapter ranks that vLLM can be started for."""

PREFIX = f"{APPLICATION}-"
"""What the names of all these applications begin with."""

SAME_CODE = "1"
"""Serve restarts replicas whose code has another version, and reconfigures those that differ in `user_config` alone."""


@dataclass(frozen=True)
class Base:
    """An engine that LoRA memories share. `rank`: the highest that it was started for."""

    application: str
    rank: int


class MemoryApps:
    """What is running for the memories of one registry."""

    def __init__(self, config: ServingConfig, registry: Registry, store: Store) -> None:
        self._config = config
        self._registry = registry
        self._store = store
        self._bases: dict[str, Base] = {}
        self._starting = asyncio.Lock()

    async def load(self, memory: Memory) -> Target:
        """Start what a version needs and return once it can answer. Raises MemoError, and leaves nothing then."""
        location = self._registry.location(memory)
        target = Target(memory.name, memory.version, "")
        try:
            target = await self._with_ledger(target, memory)
            if memory.kind == "lora":
                return await self._with_adapter(target, memory, location)
            target = replace(target, application=new_name("memory", memory), weights=str(location))
            await self._run(target.application, self._engine(self._config.memory, target.weights))
            return target
        except BaseException:
            bases = {base.application for base in self._bases.values()}
            await self.unload(target, bases)
            raise

    async def reload(self, served: Target, memory: Memory) -> Target:
        """Load a version in the place of another, in its engine, which must not be answering anybody.

        Raises MemoError; the old version is then back in place.
        """
        location = self._registry.location(memory)
        check_folder(await asyncio.to_thread(local_folder, location), f"memory {memory.reference}")
        target = replace(served, version=memory.version, weights=str(location), ledger="", tables=())
        target = await self._with_ledger(target, memory)
        try:
            await self._run(served.application, self._engine(self._config.memory, target.weights))
        except BaseException:
            await self._run(served.application, self._engine(self._config.memory, served.weights))
            await self.unload(target, {served.application})
            raise
        return target

    async def end_all(self) -> None:
        """End every application of a memory, also those that were started by somebody else who is gone."""
        running = (await asyncio.to_thread(serve.status)).applications
        for name in running:
            if name.startswith(PREFIX):
                await asyncio.to_thread(serve.delete, name)

    async def unload(self, target: Target, in_use: Collection[str]) -> None:
        """End what a version had for itself. `in_use`: applications that others answer with."""
        if target.adapter and target.application in in_use:
            await told(target.application, "unload_adapter", target.adapter)
        ended = [name for name in (target.application, target.ledger) if name and name not in in_use]
        self._bases = {key: base for key, base in self._bases.items() if base.application not in ended}
        for name in ended:
            await asyncio.to_thread(serve.delete, name)

    def _engine(self, model: ModelConfig, weights: str | None) -> Application:
        return model_deployment("memory", self._config, model, self._config.memory_replicas, weights, SAME_CODE)

    async def _with_ledger(self, target: Target, memory: Memory) -> Target:
        """The target with its ledger running; as it is where the tables are gone."""
        tables: tuple[LedgerFiles, ...] = await asyncio.to_thread(tables_of, self._store, memory)
        config = self._config
        if not tables:
            if config.routing or config.protocol.hybrid:
                raise ConfigError(
                    f"memory {memory.reference}: the reflections that it was trained on are no longer there, which "
                    "serving.routing and protocol.hybrid need; run `memo run` again or leave them out"
                )
            return target
        light = {"num_cpus": LIGHT_CPUS}
        made = deployment(LedgerDeployment, "ledger", config, ReplicaSettings(), light)
        name = new_name("ledger", memory)
        await self._run(name, made.bind(tables, config.protocol.hybrid, config.citation_embedder))
        return replace(target, ledger=name, tables=tables)

    async def _with_adapter(self, target: Target, memory: Memory, location: Location) -> Target:
        """The target on the engine of its base, with its adapter loaded in every replica."""
        folder = await asyncio.to_thread(local_folder, location)
        inner = adapter_in(folder, memory)
        adapter = f"{location}/{inner}" if inner else str(location)
        async with self._starting:
            base = self._bases.get(memory.base_digest) or await self._start_base(memory, folder / inner)
        rank = rank_of(folder / inner)
        if rank > base.rank:
            raise ConfigError(
                f"memory {memory.reference}: its adapter has rank {rank}, the engine of its base was started for "
                f"{base.rank}; set max_lora_rank in serving.memory.engine_args and serve again"
            )
        target = replace(target, application=base.application, adapter=adapter)
        await told(base.application, "load_adapter", adapter)
        return target

    async def _start_base(self, memory: Memory, adapter: Path) -> Base:
        assert isinstance(self._config.memory, VllmModel)  # ServingConfig holds that
        source = await asyncio.to_thread(resolve, memory.base, self._config.memory.revision, "serving.memory.model")
        if source.digest != memory.base_digest:
            raise ConfigError(
                f"memory {memory.reference}: {memory.base} is not the base that it was trained on any more; set "
                "serving.memory.revision to the commit of training.revision"
            )
        wanted = self._config.memory.engine_args.get("max_lora_rank")
        rank = wanted if isinstance(wanted, int) else next((r for r in RANKS if r >= rank_of(adapter)), RANKS[-1])
        # Every request to this engine names an adapter: on a CPU, vLLM 0.32 gives one without any the last adapter's
        # reply when both are in one batch (its torch kernels index with -1).
        arguments = {"enable_lora": True, "max_loras": max(2, len(self._config.memories)), "max_lora_rank": rank}
        model = self._config.memory.model_copy(
            update={"model": memory.base, "engine_args": arguments | self._config.memory.engine_args}
        )
        base = Base(f"{PREFIX}lora-{memory.base_digest[:8]}-{uuid.uuid4().hex[:6]}", rank)
        await self._run(base.application, self._engine(model, None))
        self._bases[memory.base_digest] = base
        return base

    async def _run(self, name: str, application: Application) -> None:
        """Start or change an application, and return once it runs as it now should. Raises what stopped a replica."""
        target = RunTarget(target=application, name=name, route_prefix=None)
        await asyncio.to_thread(
            serve.run_many, [target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
        )
        while True:
            status = (await asyncio.to_thread(serve.status)).applications.get(name)
            if status is not None and status.status == "DEPLOY_FAILED":
                raise reason_of([status.message, *(d.message for d in status.deployments.values())])
            if status is not None and status.status == "RUNNING":
                return
            await asyncio.sleep(LOOK_S)


async def told(application: str, method: str, argument: str) -> None:
    """Call a method on every replica of an engine. Raises what it raised there.

    One that is scaled to zero need not hear: a replica loads an adapter with the first request that names it.
    """
    try:
        await handle_of("memory", application).broadcast(method, argument).results_async()
    except DeploymentUnavailableError:
        return
    except CALL_FAILURES as error:
        raise failure_of(error, application) from error


def new_name(kind: str, memory: Memory) -> str:
    """A name for an application that none had before."""
    return f"{PREFIX}{kind}-{memory.name}-{memory.version}-{uuid.uuid4().hex[:6]}"


def adapter_in(folder: Path, memory: Memory) -> str:
    """Where in a memory's folder its LoRA adapter is: `adapter`, or the folder itself (empty). Raises ConfigError."""
    for inner in ("adapter", ""):
        if (folder / inner / "adapter_config.json").is_file():
            return inner
    raise ConfigError(f"memory {memory.reference}: {folder}: holds no adapter_config.json; train with training.lora")


def rank_of(adapter: Path) -> int:
    """The rank of a LoRA adapter."""
    return int(json.loads((adapter / "adapter_config.json").read_text())["r"])
