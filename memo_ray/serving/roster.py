"""Which memories are served, and which questions each has in hand. Asyncio, but no I/O and no Ray.

A question takes a lease on the versions that it will ask and keeps them to its end. So it never hears two versions of
one memory, and an old version goes only once nobody is being answered by it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from memo_ray.citations.files import LedgerFiles
from memo_ray.errors import GenerationError
from memo_ray.serving.backend import Busy


@dataclass(frozen=True, slots=True)
class Target:
    """Where one version of a memory answers."""

    name: str
    version: int
    application: str
    """Serve's application with its engine."""
    weights: str = ""
    """The folder that its engine was loaded from; empty: the engine has the base of LoRA memories."""
    adapter: str = ""
    """The folder of its LoRA adapter; empty: it is none."""
    ledger: str = ""
    """Serve's application with its ledger; empty: answers come without citations."""
    tables: tuple[LedgerFiles, ...] = ()
    """What the ledger is read from, for routers."""

    @property
    def reference(self) -> str:
        """NAME@VERSION."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Lease:
    """A question in work. `until`: when it is given up as lost, by `time.monotonic`."""

    targets: tuple[Target, ...]
    until: float


class Roster:
    """The memories by entry, NAME or NAME@VERSION as `serving.memories` has them; the first entry is the default.

    `lease_s`: longer than any question takes; a lease that nobody returned ends then. `max_waiting`: questions that
    may wait while a memory is reloaded in place.
    """

    def __init__(self, lease_s: float, max_waiting: int) -> None:
        self.targets: dict[str, Target] = {}
        self._entries: tuple[str, ...] = ()
        self._lease_s = lease_s
        self._max_waiting = max_waiting
        self._leases: dict[str, Lease] = {}
        self._held: set[str] = set()
        self._waiting = 0
        self._changed = asyncio.Condition()

    def want(self, entries: Iterable[str]) -> None:
        """The entries there are to be, the default first."""
        self._entries = tuple(entries)

    def names(self) -> tuple[str, ...]:
        """What may be asked for now: each memory's NAME, and NAME@VERSION of each version, the default first."""
        served = [self.targets[entry] for entry in self._entries if entry in self.targets]
        return tuple(dict.fromkeys(name for target in served for name in (target.name, target.reference)))

    def find(self, reference: str) -> Target:
        """The version that NAME, NAME@VERSION or "" (the default) means now; NAME: the highest one served.

        Raises GenerationError when it is not served.
        """
        wanted = reference or (self._entries[0] if self._entries else "")
        if wanted in self.targets:
            return self.targets[wanted]
        fitting = [target for target in self.targets.values() if wanted in (target.name, target.reference)]
        if not fitting:
            raise GenerationError(f"memory {wanted or 'memory'}: is not served at the moment; ask again in a moment")
        return max(fitting, key=lambda target: target.version)

    async def put(self, entry: str, target: Target) -> Target | None:
        """Have new questions for `entry` answered by `target`; returns the one before."""
        async with self._changed:
            before, self.targets[entry] = self.targets.get(entry), target
            self._changed.notify_all()
        return before

    def drop(self, entry: str) -> Target:
        """Serve an entry no more."""
        return self.targets.pop(entry)

    async def acquire(self, references: Iterable[str]) -> tuple[str, tuple[Target, ...]]:
        """A lease on these memories as they are now, and what they are. Waits while one is reloaded in place.

        Raises GenerationError for one that is not served, Busy when `max_waiting` questions wait already.
        """
        wanted = tuple(references)
        async with self._changed:
            while self._held & {target.application for target in map(self.find, wanted)}:
                if self._waiting >= self._max_waiting:
                    raise Busy("a memory is being replaced and the queue is full; ask again in a moment")
                self._waiting += 1
                try:
                    await self._changed.wait()
                finally:
                    self._waiting -= 1
            targets = tuple(dict.fromkeys(self.find(reference) for reference in wanted))
            lease_id = uuid.uuid4().hex
            self._leases[lease_id] = Lease(targets, time.monotonic() + self._lease_s)
        return lease_id, targets

    async def release(self, lease_id: str) -> None:
        """The question is over. A lease that has run out needs no returning."""
        async with self._changed:
            self._leases.pop(lease_id, None)
            self._changed.notify_all()

    def in_hand(self, target: Target) -> int:
        """The questions that `target` has in hand."""
        now = time.monotonic()
        return sum(target in lease.targets and lease.until > now for lease in self._leases.values())

    async def drained(self, target: Target) -> None:
        """Return once no question is answered by `target` any more."""
        async with self._changed:
            while self.in_hand(target):
                await self._notified(min(lease.until for lease in self._leases.values() if target in lease.targets))
            now = time.monotonic()
            self._leases = {key: lease for key, lease in self._leases.items() if lease.until > now}

    @asynccontextmanager
    async def held(self, target: Target) -> AsyncIterator[None]:
        """Have new questions wait, and enter the block once those in hand are over: the engine is free."""
        self._held.add(target.application)
        try:
            await self.drained(target)
            yield
        finally:
            async with self._changed:
                self._held.discard(target.application)
                self._changed.notify_all()

    async def _notified(self, until: float) -> None:
        """Wait for a change, or until a time of `time.monotonic`."""
        try:
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._changed.wait()
        except TimeoutError:
            return
