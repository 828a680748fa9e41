"""One save at a time beside the training: copies off the device, then files, then what makes them count.

Every worker has a thread for it. Training goes on meanwhile; only before weights change does it wait for the copies.
The threads agree over gloo groups of their own, so that neither a GPU nor a collective of the model waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from memo_ray.errors import MemoError, TrainingError

Held = TypeVar("Held")

LONGEST_WRITE = timedelta(hours=6)
"""So long a worker's thread waits for the slowest one's files; the default of half an hour is too short for S3."""


class Elsewhere(RuntimeError):
    """Another worker's part of a save has failed."""


class HostCopies:
    """Host memory for copies of a worker's tensors; each save uses it again. Pinned where they come from a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.buffers: dict[str, torch.Tensor] = {}

    def take(
        self,
        sources: Iterable[tuple[str, torch.Tensor]],
        dtype: torch.dtype | None = None,
        tied: Mapping[str, str] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Copies by name, on their way until the current stream is done. `dtype`: theirs, if not the source's.

        `tied`: names whose copy is that of another one, which comes before.
        """
        held: dict[str, torch.Tensor] = {}
        for name, value in sources:
            if tied and name in tied:
                held[name] = held[tied[name]]
                continue
            kind, buffer = dtype or value.dtype, self.buffers.get(name)
            if buffer is None or buffer.shape != value.shape or buffer.dtype != kind:
                buffer = torch.empty(value.shape, dtype=kind, pin_memory=self.device.type == "cuda")
                self.buffers[name] = buffer
            held[name] = buffer.copy_(value.detach(), non_blocking=True)
        return held


class Writer:
    """Writes what all workers save together. `blocked_seconds`: how long this worker's training waited for it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.rank, self.world = dist.get_rank(), dist.get_world_size()
        # Main threads and writing threads must not meet in one group.
        self.steering = dist.new_group(backend="gloo")
        self.finishing = dist.new_group(backend="gloo", timeout=LONGEST_WRITE)
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.pool = ThreadPoolExecutor(1, "save")
        self.copying: Future[Any] | None = None
        self.saving: Future[None] | None = None
        self.blocked_seconds = 0.0

    def start(self, copy: Callable[[], Held], write: Callable[[Held], None], commit: Callable[[], None]) -> None:
        """Begin a save once the one before has finished; all workers call this.

        `copy` reads tensors and gives what `write` writes. `commit` is called on the first worker alone when all have
        written. Raises like `finish`.
        """
        self.finish()
        ready = torch.cuda.current_stream(self.device).record_event() if self.stream is not None else None
        copying = self.pool.submit(self._copy, copy, ready)
        writing = self.pool.submit(lambda: write(copying.result()))
        self.copying, self.saving = copying, self.pool.submit(self._commit, writing, commit)

    def wait_for_copies(self) -> None:
        """Return when no tensor is read any more: to be called before they change."""
        if self.copying is not None:
            clock = time.monotonic()
            wait([self.copying])
            self.copying = None
            self.blocked_seconds += time.monotonic() - clock

    @property
    def busy(self) -> bool:
        """Whether this worker is still saving."""
        return self.saving is not None and not self.saving.done()

    @property
    def failed(self) -> bool:
        """Whether the last save has failed, as far as this worker knows."""
        return self.saving is not None and self.saving.done() and self.saving.exception() is not None

    def agreed(self, *wishes: bool) -> list[bool]:
        """Each wish, if any worker has it; all workers call this."""
        if self.world == 1:
            return list(wishes)
        found = torch.tensor(wishes, dtype=torch.uint8)
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self.steering)
        return found.bool().tolist()

    def summed(self, *counts: int) -> list[int]:
        """Each count over all workers."""
        found = torch.tensor(counts, dtype=torch.int64)
        dist.all_reduce(found, group=self.steering)
        return found.tolist()

    def finish(self) -> None:
        """Wait until the last save counts; all workers call this.

        Raises TrainingError, on all of them, when it failed for a reason that a user must mend, and else RuntimeError.
        """
        if self.saving is None:
            return
        clock = time.monotonic()
        wait([self.saving])
        error = self.saving.exception()
        self.copying = self.saving = None
        mine = None if error is None or isinstance(error, Elsewhere) else (isinstance(error, MemoError), told(error))
        found: list[tuple[bool, str] | None] = [None] * self.world
        dist.all_gather_object(found, mine, group=self.steering)
        self.blocked_seconds += time.monotonic() - clock
        for rank, problem in enumerate(found):
            if problem is not None:
                kind = TrainingError if problem[0] else RuntimeError
                raise kind(f"training: worker {rank + 1} of {self.world} could not save: {problem[1]}")

    def close(self) -> None:
        """Let the save that is under way come to its end, whatever that is."""
        self.pool.shutdown(wait=True)

    def _copy(self, copy: Callable[[], Held], ready: Any) -> Held:
        with torch.no_grad():
            if self.stream is None:
                return copy()
            with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
                self.stream.wait_event(ready)
                held = copy()
                self.stream.synchronize()
                return held

    def _commit(self, writing: Future[None], commit: Callable[[], None]) -> None:
        error = writing.exception()
        written = torch.tensor([error is None], dtype=torch.uint8)
        dist.all_reduce(written, dist.ReduceOp.MIN, group=self.finishing)
        if error is not None:
            raise error
        if not written.item():
            raise Elsewhere
        if self.rank == 0:
            commit()


def told(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    text = lines[-1][:300] if lines else ""
    return text if isinstance(error, MemoError) else f"{type(error).__name__}: {text}"
