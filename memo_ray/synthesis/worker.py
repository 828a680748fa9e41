"""The actor of the synthesis: has one engine, works on many rows at once, and outlives the engine's death.

One input row {row_id, payload} gives one output row {row_id, result, error}. Nothing is raised out of a row, since
Ray Data would end the whole pass: what ends the pass stands in `error`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

import pyarrow as pa

from memo_ray.artifacts.local import disk_errors
from memo_ray.config.models import VllmModel
from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.errors import EngineDied, GenerationError, MemoError
from memo_ray.models.chat import ChatModel
from memo_ray.models.journal import Journal
from memo_ray.models.watched import JournaledModel, WatchedModel
from memo_ray.synthesis import recipe, units
from memo_ray.synthesis.asking import StepCount
from memo_ray.synthesis.pairs import Lost
from memo_ray.synthesis.recipe import UnitResult
from memo_ray.synthesis.settings import StepSettings

INPUT = pa.schema([("row_id", pa.string()), ("payload", pa.string())])
OUTPUT = pa.schema([("row_id", pa.string()), ("result", pa.string()), ("error", pa.string())])
RETRY_PAUSES_S = (5.0, 30.0)
"""Waits before a row is tried again in which the generator left prompts unanswered, beyond its client's own tries."""

KEPT_JOURNALS = 256
"""Finished rows whose replies are still kept: by then Ray Data has written the rows themselves."""

DEATHS_A_ROW = 2
"""A row in flight at so many engine deaths is given up: it may be what kills the engine."""


WorkerOpener: TypeAlias = Callable[[Path | None], Awaitable[ChatModel]]
"""Gives a worker its model, and after that one's death the next. The file: where an endpoint's replies are kept."""


class Begun(Protocol):
    """How often each row of a pass was begun and how many are finished, known to all actors, also to restarted ones."""

    async def begin(self, row_id: str) -> int:
        """Count this beginning of a row; how often it was begun before."""
        ...

    async def finish(self, row_id: str) -> None:
        """The row needs no count any more."""
        ...


class RowWorker:
    """One model, opened with the first row. Only a dead one is closed: an engine may outlive the actor."""

    def __init__(
        self,
        kind: str,
        config: SynthesisConfig,
        begun: Begun,
        opener: WorkerOpener,
        journal: Path | None = None,
        meter: Callable[[], Callable[[str, UnitResult], None]] | None = None,
        retry_pauses_s: Sequence[float] = RETRY_PAUSES_S,
    ) -> None:
        """`journal`: the file of this machine in which an endpoint's replies are kept for a later try; those of an
        engine are kept beside it, a file a row, until the row is written. `meter` makes what is told every result.
        """
        self._kind, self._config, self._begun = kind, config, begun
        self._journal, self._opener, self._retry_pauses_s = journal, opener, retry_pauses_s
        self._observe = meter() if meter else None
        self._finished: deque[Path] = deque()
        self._settings = StepSettings.load(config)
        self._model: ChatModel | None = None
        self._opening: asyncio.Lock | None = None
        self._deaths = 0
        self._successes = 0
        self._broken = ""

    async def __call__(self, batch: pa.Table) -> AsyncIterator[pa.Table]:
        """One row in, one row out."""
        (row,) = batch.to_pylist()
        result, error = "", self._broken
        if not error:
            try:
                # Ray Data would hide from the driver that it is the disk on which replies are kept.
                with disk_errors(self._journal.parent if self._journal else Path()):
                    result = units.write_result(await self._finish(row["row_id"], row["payload"]))
            except MemoError as problem:
                error = self._broken = str(problem)
        yield pa.Table.from_pylist([{"row_id": row["row_id"], "result": result, "error": error}], schema=OUTPUT)

    async def _finish(self, row_id: str, payload: str) -> UnitResult:
        """The row's result, begun again after an engine's death. Raises what no restart can mend."""
        # Counted outside this process, so that a beginning also counts when the whole process dies.
        while await self._begun.begin(row_id) < DEATHS_A_ROW:
            model = await self._open()
            try:
                result = await self._patiently(row_id, payload, model)
            except EngineDied as death:
                await self._bury(model, death)
                continue
            await self._begun.finish(row_id)
            return self._told(row_id, result)
        await self._begun.finish(row_id)
        return self._told(row_id, self._given_up(row_id, payload))

    def _given_up(self, row_id: str, payload: str) -> UnitResult:
        """What a row comes to that may be what kills the engine: a loss for the unit, or for each candidate."""
        if self._kind == "units":
            step, chunks = "direct", [units.read_unit(row_id, payload).sources[0].chunk.chunk_id]
        else:
            shown = [candidate for candidate, _ in units.read_candidates(payload)]
            step, chunks = "connections", [candidate.anchor.chunk_ids[0] for candidate in shown]
        detail, number = f"in flight at {DEATHS_A_ROW} engine deaths", len(chunks)
        losses = [Lost(step, "engine", detail, row_id, chunk, payload[:2000]) for chunk in chunks]
        count = StepCount(prompts=number, failed=Counter(engine=number))
        return UnitResult([], losses, {step: count.to_json()}, {}, number)

    def _told(self, row_id: str, result: UnitResult) -> UnitResult:
        """A finished row's result, counted; its replies are forgotten a while later."""
        if self._observe:
            self._observe(row_id, result)
        path = self._replies_of(row_id)
        if path is not None:
            self._finished.append(path)
            if len(self._finished) > KEPT_JOURNALS:
                self._finished.popleft().unlink(missing_ok=True)
        return result

    def _replies_of(self, row_id: str) -> Path | None:
        """Where an engine's replies to a row's prompts are kept; None where an endpoint has a journal of its own."""
        if self._journal is None or not isinstance(self._config.generator, VllmModel):
            return None
        return self._journal.parent / "replies" / f"{row_id}.jsonl"

    async def _patiently(self, row_id: str, payload: str, model: ChatModel) -> UnitResult:
        """The row's result; of a row with unanswered prompts those are asked again after a while.

        Raises GenerationError when the generator answers nothing at all. If it answers other rows, or the rest of
        this one, the prompts are at fault: they stay lost.
        """
        before, pauses = self._successes, iter(self._retry_pauses_s)
        replies = JournaledModel(model, Journal(self._replies_of(row_id)))
        while True:
            result = await self._work(row_id, payload, replies)
            result.cost = dict(replies.cost)
            unanswered = [loss for loss in result.losses if loss.reason == "engine"]
            if not unanswered:
                self._successes += 1
                return result
            heard = bool(replies.cost) or self._successes > before
            pause = next(pauses, None) if heard or self._successes else None
            if pause is not None:
                await asyncio.sleep(pause)
            elif heard:
                return result
            else:
                raise GenerationError(f"the generator answers nothing: {unanswered[0].detail}")

    async def _work(self, row_id: str, payload: str, model: ChatModel) -> UnitResult:
        if self._kind != "units":
            return await recipe.connect_all(units.read_candidates(payload), model, self._settings)
        return await recipe.synthesise_unit(units.read_unit(row_id, payload), model, self._settings)

    async def _open(self) -> ChatModel:
        """The model, opened if there is none; rows that come meanwhile wait for it."""
        if self._opening is None:
            self._opening = asyncio.Lock()
        async with self._opening:
            if self._broken:
                raise GenerationError(self._broken)
            while self._model is None:
                try:
                    model = await self._opener(self._journal)
                except EngineDied as death:
                    self._died(death)
                    continue
                # An endpoint has time-outs of its own, and a batch may take a day.
                engine = isinstance(self._config.generator, VllmModel)
                self._model = WatchedModel(model, self._config.no_progress_s) if engine else model
            return self._model

    async def _bury(self, model: ChatModel, death: EngineDied) -> None:
        """Close a dead engine once, for all the rows that were in flight. Raises when too many have died."""
        assert self._opening is not None
        async with self._opening:
            if self._model is model:
                self._model = None
                await model.close()
                self._died(death)

    def _died(self, death: EngineDied) -> None:
        """Count a death. Raises GenerationError when there were too many."""
        self._deaths += 1
        if self._deaths > self._config.engine_restarts:
            raise GenerationError(
                f"the generator's engine died {self._deaths} times, engine_restarts allows "
                f"{self._config.engine_restarts}; the log above says why, often memory ({death})"
            )
