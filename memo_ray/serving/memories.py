"""The deployment that decides which memories are served: it follows the registry and swaps versions under load.

It starts a newer version's engine, sends new questions there, and ends the old one when its last question is over; a
version that was withdrawn goes the same way. The gateway takes a lease here for every question.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from contextlib import suppress
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from memo_ray.artifacts.place import open_place
from memo_ray.artifacts.registry import Memory, Registry, parse
from memo_ray.artifacts.store import Store
from memo_ray.config.serving import ServingConfig
from memo_ray.errors import ConfigError, MemoError, StoreError
from memo_ray.serving.memory_apps import MemoryApps
from memo_ray.serving.roster import Roster, Target
from memo_ray.serving.status import deployment_states, last_line

logger = logging.getLogger(__name__)

SPARE_S = 30.0
"""Seconds that a lease outlives the longest question."""


class MemoriesDeployment:
    """The memories of the run at `run` that are served. Serve's `user_config` {"memories": [...]} names them.

    A replica that takes the place of a failed one ends the engines that it left behind, and starts them anew.
    """

    def __init__(self, config: ServingConfig, run: str) -> None:
        place = open_place(run)
        self._config = config
        self._registry = Registry(place)
        self._roster = Roster(config.request_timeout_s + SPARE_S, config.max_queued_requests)
        self._apps = MemoryApps(config, self._registry, Store(place.child("artifacts")))
        self._entries: tuple[str, ...] = ()
        self._chosen: dict[str, int] = {}
        self._errors: dict[str, tuple[str, str]] = {}
        self._bringing: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._draining: list[Target] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._loading: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._look_now = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serve these memories; by Serve, at the start and when they change."""
        self._entries = tuple(user_config["memories"])
        self._roster.want(self._entries)
        self._look_now.set()
        if self._following is None:
            self._following = self._spawn(self._follow())

    async def check_health(self) -> None:
        """Called by Serve; a replica that no longer follows the registry is replaced."""
        if self._following is not None and self._following.done():
            self._following.result()

    async def names(self) -> tuple[str, ...]:
        """What may be asked for now; see `Roster.names`."""
        return self._roster.names()

    async def acquire(self, memories: tuple[str, ...]) -> tuple[str, tuple[Target, ...]]:
        """A lease for one question; see `Roster.acquire`."""
        return await self._roster.acquire(memories)

    async def release(self, lease_id: str) -> None:
        """The question is over."""
        await self._roster.release(lease_id)

    async def swap(self, memory: str) -> None:
        """Have NAME served by this version (NAME@VERSION), or follow the newest one again (NAME); returns at once.

        It holds until this deployment is started again. Raises ConfigError, StoreError for one that cannot be served.
        """
        name, version = parse(memory)
        if name not in self._entries:
            raise ConfigError(f"{name}: is not among serving.memories as {name}; those are {', '.join(self._entries)}")
        await asyncio.to_thread(self._registry.get, name, version)
        self._chosen.pop(name, None)
        if version is not None:
            self._chosen[name] = version
        self._errors.pop(name, None)
        self._look_now.set()

    async def table(self) -> list[dict[str, Any]]:
        """A row for each memory that is to be served: the version that is, the one on its way, what went wrong."""
        rows = []
        for entry in self._entries:
            target = self._roster.targets.get(entry)
            failed = self._errors.get(entry, ("", ""))
            coming = self._bringing[entry][0] if entry in self._bringing else ""
            rows.append(
                {
                    "entry": entry,
                    "serves": target.reference if target else None,
                    "loading": coming or None,
                    "in_hand": self._roster.in_hand(target) if target else 0,
                    "draining": [old.reference for old in self._draining if old.name == parse(entry)[0]],
                    "failed": failed[0] or None,
                    "error": failed[1] or None,
                    "health": await health_of(target) if target else "DEPLOY_FAILED" if failed[1] else "STARTING",
                }
            )
        return rows

    async def _follow(self) -> None:
        await self._apps.end_all()
        while True:
            self._look_now.clear()
            try:
                await self._look()
            except StoreError as error:
                logger.warning("the registry cannot be read, so nothing is swapped: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.registry_poll_s):
                    await self._look_now.wait()

    async def _look(self) -> None:
        """Compare what is served with what should be, and begin what is missing."""
        for entry in self._entries:
            memory = await asyncio.to_thread(self._wanted, entry)
            served = self._roster.targets.get(entry)
            reference, task = self._bringing.get(entry, ("", None))
            if task is not None and (memory is None or memory.reference != reference):
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            if memory is None:
                self._errors[entry] = (entry, f"{entry}: the registry has no version of it that stands")
                self._retire(entry)
            elif served is not None and served.reference == memory.reference:
                self._errors.pop(entry, None)
            elif self._errors.get(entry, ("",))[0] != memory.reference and entry not in self._bringing:
                self._bringing[entry] = (memory.reference, self._spawn(self._bring(entry, memory)))
        for entry in set(self._roster.targets) - set(self._entries):
            self._retire(entry)

    def _wanted(self, entry: str) -> Memory | None:
        """The version that an entry should be served by now; none when it was withdrawn or never there."""
        name, version = parse(entry)
        version = version or self._chosen.get(name)
        standing = [memory for memory in self._registry.versions(name) if not memory.withdrawn]
        chosen = [memory for memory in standing if version in (None, memory.version)]
        # A version that was chosen by hand and then withdrawn gives way to the newest.
        return chosen[-1] if chosen else standing[-1] if standing and "@" not in entry else None

    async def _bring(self, entry: str, memory: Memory) -> None:
        """Have `entry` served by this version."""
        before = self._roster.targets.get(entry)
        try:
            async with self._loading[memory.reference]:
                if before is not None and self._fits_in_place(before, memory):
                    async with self._roster.held(before):
                        await self._roster.put(entry, await self._apps.reload(before, memory))
                else:
                    target = self._serving(memory) or await self._apps.load(memory)
                    await self._roster.put(entry, target)
        except Exception as error:  # whatever it was: the old version stays, and this one is not tried over and over
            logger.warning("memory %s could not be loaded", memory.reference, exc_info=error)
            self._errors[entry] = (memory.reference, last_line(str(error)))
        else:
            self._errors.pop(entry, None)
            if before is not None:
                self._end(before)
        finally:
            self._bringing.pop(entry, None)

    def _fits_in_place(self, before: Target, memory: Memory) -> bool:
        """Whether a version may take the engine of the one that is served."""
        alone = sum(target.application == before.application for target in self._roster.targets.values()) == 1
        return self._config.swap == "in_place" and alone and memory.kind == "full" and not before.adapter

    def _serving(self, memory: Memory) -> Target | None:
        """The version as another entry has it."""
        return next((t for t in self._roster.targets.values() if t.reference == memory.reference), None)

    def _retire(self, entry: str) -> None:
        """Serve an entry no more."""
        if entry in self._roster.targets:
            self._end(self._roster.drop(entry))

    def _end(self, target: Target) -> None:
        """Unload a version when its last question is over, unless another entry serves it."""
        if target not in self._roster.targets.values():
            self._draining.append(target)
            self._spawn(self._unload(target))

    async def _unload(self, target: Target) -> None:
        await self._roster.drained(target)
        self._draining.remove(target)
        others = [*self._roster.targets.values(), *self._draining]
        try:
            await self._apps.unload(target, {name for other in others for name in (other.application, other.ledger)})
        except (MemoError, RayError, RayServeException, TimeoutError) as error:
            logger.warning("memory %s could not be unloaded: %s", target.reference, error)

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def health_of(target: Target) -> str:
    """The state of a version's engine, as Serve's controller sees it."""
    states = await asyncio.to_thread(deployment_states, target.application)
    return states.get("memory", "NOT_FOUND")
