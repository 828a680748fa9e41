"""A lock for a store without locks: an object that its holder renews, and that others may take over when it is stale.

In goes a store with conditional writes, out comes a block that one process at a time can be in. The clock is the
store's own, so machines need not agree on the time.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from memo_ray.artifacts.owner import is_alive, is_here, named, this_process
from memo_ray.errors import BeingMade, StoreError

RENEWED_S = 5.0
STALE_S = 30.0
"""A lease that was not renewed for so long belongs to nobody: its holder was killed or cut off."""


class LeaseStore(ABC):
    """Where one lease lies."""

    @abstractmethod
    def read(self) -> tuple[bytes, str, float] | None:
        """Content, tag and age in seconds; None when there is no lease."""

    @abstractmethod
    def write(self, content: bytes, tag: str | None) -> str | None:
        """Write over the lease with `tag`, or where there is none (None); the new tag, or None when it is another's."""

    @abstractmethod
    def delete(self, tag: str) -> None:
        """Remove the lease if it still has `tag`."""

    def holder(self) -> dict[str, Any] | None:
        """Who holds the lease, as it says of itself; None for a lease that is stale or not there."""
        found = self.read()
        owner = json.loads(found[0]) if found and found[2] <= STALE_S else {}
        return owner if owner and (is_alive(owner) or not is_here(owner)) else None


@contextmanager
def leased(store: LeaseStore, where: str, what: str) -> Iterator[Callable[[], None]]:
    """Hold the lease for the length of a block; yields a function that raises StoreError unless it is still held.

    Waits up to STALE_S to see whether an old holder still renews; raises StoreError that names it when it does.
    """
    lease = _Lease(store, where, what)
    lease.take()
    try:
        yield lease.confirm
    finally:
        lease.release()


class _Lease:
    def __init__(self, store: LeaseStore, where: str, what: str) -> None:
        self._store, self._where, self._what = store, where, what
        self._tag: str | None = None
        self._name = uuid.uuid4().hex
        self._count = 0
        self._renewing = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True)

    def take(self) -> None:
        """Write the lease where there is none, or over one that nobody renews."""
        self._tag = self._store.write(self._content(), None) or self._take_over()
        self._thread.start()

    def _take_over(self) -> str:
        seen: str | None = None
        while True:
            found = self._store.read()
            if found is None:
                tag = self._store.write(self._content(), None)
            else:
                content, held, age = found
                owner = json.loads(content)
                if owner["name"] == self._name:  # the answer to its own writing was lost
                    return held
                if seen is not None and held != seen:
                    raise BeingMade(
                        f"{self._where}: {named(owner)} is making {self._what}; wait for it, or stop it first"
                    )
                seen = held
                gone = is_here(owner) and not is_alive(owner)  # then there is nothing to wait for
                tag = self._store.write(self._content(), held) if gone or age > STALE_S else None
            if tag is not None:
                return tag
            time.sleep(1)

    def confirm(self) -> None:
        """Raise StoreError unless the lease is still this process's: asked of the store, not of memory."""
        with self._renewing:
            if self._tag is not None:
                self._tag = self._store.write(self._content(), self._tag) or self._still_held()
        if self._tag is None:
            raise StoreError(
                f"{self._where}: this process was cut off for so long that another took over; nothing was "
                "overwritten, run the command again"
            )

    def release(self) -> None:
        """Stop renewing, and give the lease back if it is still held."""
        self._ended.set()
        self._thread.join()
        if self._tag is not None:
            # A lease that cannot be removed now is stale in a while.
            with suppress(StoreError):
                self._store.delete(self._tag)

    def _renew(self) -> None:
        while not self._ended.wait(RENEWED_S):
            with suppress(StoreError), self._renewing:  # an outage; it is lost only when somebody else takes it
                if self._tag is not None:
                    self._tag = self._store.write(self._content(), self._tag) or self._still_held()
            if self._tag is None:
                return

    def _still_held(self) -> str | None:
        """The tag that the lease has after all, when a refusal answers the repetition of a write that had worked."""
        found = self._store.read()
        return found[1] if found and json.loads(found[0])["name"] == self._name else None

    def _content(self) -> bytes:
        """Who holds it; the count makes every renewal's tag another."""
        self._count += 1
        return json.dumps(this_process() | {"name": self._name, "count": self._count}).encode()
