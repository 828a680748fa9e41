"""The actor without its cluster: one engine for many rows, engine deaths, and what ends a pass."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from memo_ray.errors import EngineDied, GenerationError
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.synthesis.candidates import Candidate
from memo_ray.synthesis.ray_metrics import amounts_of
from memo_ray.synthesis.recipe import UnitResult
from memo_ray.synthesis.units import candidate_rows, read_result, unit_rows
from memo_ray.synthesis.worker import INPUT, RowWorker, WorkerOpener
from tests.ray.writing_endpoint import written
from tests.unit.synthesis.conftest import Scripted, config, make_chunk, make_pair

ROWS = list(
    unit_rows(
        [make_chunk(), make_chunk("The poet Nora Fenwith wrote the song Blue Door in Varda in 1850.", "d2")],
        [],
        config(),
    )
)


class Closable(Scripted):
    """A scripted engine that tells when it is closed; one that hangs never replies."""

    def __init__(self, reply: Callable[[ChatRequest], Any], closed: Callable[[], None], hangs: bool = False) -> None:
        super().__init__(reply)
        self._closed, self._hangs = closed, hangs

    async def chat(self, request: ChatRequest) -> ChatReply:
        if self._hangs:
            await asyncio.sleep(3600)
        return await super().chat(request)

    async def close(self) -> None:
        self._closed()


class Engines:
    """Opens scripted engines; the first `deaths` die at their first prompt, the first `hanging` never reply."""

    def __init__(self, deaths: int = 0, hanging: int = 0) -> None:
        self.opened: list[Scripted] = []
        self.closed = 0
        self._deaths, self._hanging = deaths, hanging

    async def open(self, *_: Any) -> Scripted:
        dies = len(self.opened) < self._deaths

        def reply(request: ChatRequest) -> Any:
            if dies:
                raise EngineDied("the engine is gone")
            return written(request.messages[-1]["content"], request.schema or {})

        engine = Closable(reply, self._close, hangs=len(self.opened) < self._hanging)
        self.opened.append(engine)
        return engine

    def _close(self) -> None:
        self.closed += 1


class Counted:
    """How often rows were begun, in this process."""

    def __init__(self, **before: int) -> None:
        self.times = Counter(before)

    async def begin(self, row_id: str) -> int:
        self.times[row_id] += 1
        return self.times[row_id] - 1

    async def finish(self, row_id: str) -> None:
        self.times.pop(row_id, None)


def work(
    opener: WorkerOpener, begun: Counted | None = None, kind: str = "units", rows: list[dict[str, str]] = ROWS,
    **changes: Any,
) -> list[dict[str, str]]:  # fmt: skip
    """The rows through one worker at once; a row that was hit by an outage waits for nothing."""

    async def all_rows() -> list[dict[str, str]]:
        begins = begun or Counted()
        actor = RowWorker(kind, config(**changes), begins, opener, retry_pauses_s=(0.0, 0.0))

        async def one(row: dict[str, str]) -> dict[str, str]:
            batches = [batch async for batch in actor(pa.Table.from_pylist([row], schema=INPUT))]
            return batches[0].to_pylist()[0]

        return list(await asyncio.gather(*map(one, rows)))

    return asyncio.run(all_rows())


def test_rows_share_one_engine():
    engines, begun = Engines(), Counted()
    rows = work(engines.open, begun)
    assert len(engines.opened) == 1
    results = [read_result(row["result"]) for row in rows]
    assert [row["row_id"] for row in rows] == [row["row_id"] for row in ROWS]
    assert all(result.pairs for result in results)
    assert not begun.times, "finished rows leave no mark"


def test_rows_in_flight_at_one_death_are_begun_again():
    engines = Engines(deaths=1)
    rows = work(engines.open)
    assert (len(engines.opened), engines.closed) == (2, 1)
    results = [read_result(row["result"]) for row in rows]
    assert all(result.pairs for result in results)


def test_an_engine_that_dies_while_it_starts_is_started_again_within_the_limit():
    engines, tries = Engines(), Counter[str]()

    async def fails(times: int, _: Path | None) -> Scripted:
        tries["made"] += 1
        if tries["made"] <= times:
            raise EngineDied("its node is gone")
        return await engines.open()

    rows = work(partial(fails, 2), engine_restarts=2)
    assert all(read_result(row["result"]).pairs for row in rows) and tries["made"] == 3
    assert all("its node is gone" in row["error"] for row in work(partial(fails, 9), engine_restarts=2))
    assert tries["made"] == 6, "three more tries for both rows together"


def test_a_row_in_flight_at_two_deaths_is_given_up_and_says_so():
    rows = work(Engines(deaths=2).open)
    for row in rows:
        result = read_result(row["result"])
        assert row["error"] == "" and not result.pairs
        (loss,) = result.losses
        assert (loss.reason, loss.detail) == ("engine", "in flight at 2 engine deaths")
        assert amounts_of(result)["direct"]["rejects"] == 1
        payload = next(r["payload"] for r in ROWS if r["row_id"] == row["row_id"])
        assert loss.chunk_id == json.loads(payload)["chunks"][0]["chunk_id"]


def test_every_candidate_of_a_row_is_asked_and_is_lost_with_it():
    pairs = [make_pair(f"Who rang bell {n}?", "Odo Stell", chunk_ids=(f"c{n}",)) for n in range(4)]
    rows = list(candidate_rows([Candidate("g", pair, (pairs[3],)) for pair in pairs[:3]], {}))
    assert len(rows) == 1
    ((good,), (bad,)) = (work(Engines(deaths).open, kind="candidates", rows=rows) for deaths in (0, 2))
    asked, lost = read_result(good["result"]), read_result(bad["result"])
    assert asked.rows == lost.rows == 3
    assert asked.counts["connections"]["prompts"] >= 3 and not asked.counts["connections"]["failed"]
    assert [loss.chunk_id for loss in lost.losses] == ["c0", "c1", "c2"]
    assert amounts_of(lost)["connections"]["rejects"] == 3


def test_marks_of_another_process_of_this_run_count():
    first, second = work(Engines().open, Counted(**{ROWS[0]["row_id"]: 2}))
    assert not read_result(first["result"]).pairs
    assert read_result(second["result"]).pairs


def test_too_many_deaths_end_the_pass():
    rows = work(Engines(deaths=1).open, engine_restarts=0)
    assert all("engine_restarts allows 0" in row["error"] and not row["result"] for row in rows)


def test_a_model_that_never_answers_ends_the_pass_with_its_reason():
    def refuse(_: ChatRequest) -> str:
        raise GenerationError("endpoint http://x: cannot be reached")

    async def open_model(*_: Any) -> Scripted:
        return Scripted(refuse)

    rows = work(open_model)
    assert all("cannot be reached" in row["error"] for row in rows)


class Outage:
    """An engine that refuses prompts from the `first`-th on, `times` of them, and answers all others."""

    def __init__(self, first: int, times: int, deadly: str = "") -> None:
        self.asked = self.refused = 0
        self._first, self._times, self._deadly = first, times, deadly

    async def open(self, *_: Any) -> Scripted:
        def reply(request: ChatRequest) -> Any:
            self.asked += 1
            said = request.messages[-1]["content"]
            if self.asked > self._first and self.refused < self._times and self._deadly in said:
                self.refused += 1
                raise GenerationError("endpoint http://x: cannot be reached")
            return written(said, request.schema or {})

        return Scripted(reply)


def test_a_row_hit_by_a_short_outage_is_done_again():
    whole = [read_result(row["result"]).pairs for row in work(Engines().open)]
    outage = Outage(first=3, times=2)
    rows = work(outage.open)
    results = [read_result(row["result"]) for row in rows]
    assert sum(result.cost["prompts"] for result in results) == outage.asked - outage.refused, "each reply once"
    assert [result.pairs for result in results] == whole
    assert not any(loss.reason == "engine" for result in results for loss in result.losses)


def test_a_prompt_that_never_works_ends_no_pass():
    rows = work(Outage(first=1, times=10**6, deadly="Blue Door").open)
    assert [row["error"] for row in rows] == ["", ""]
    lost = [loss for row in rows for loss in read_result(row["result"]).losses if loss.reason == "engine"]
    assert lost and all("cannot be reached" in loss.detail for loss in lost)


def test_a_killed_row_asks_an_engine_only_what_was_not_answered(tmp_path: Path):
    whole = [read_result(row["result"]) for row in work(Engines().open)]
    killed = Outage(first=10**6, times=0)
    observed: list[UnitResult] = []

    async def one(engines: Outage, most: int) -> UnitResult | None:
        """The first row, through an engine that ends with the process at its prompt number `most`."""
        actor = RowWorker(
            "units",
            config(),
            Counted(),
            engines.open,
            tmp_path / "replies.jsonl",
            lambda: lambda row_id, result: observed.append(result),
        )
        task = asyncio.ensure_future(anext(actor(pa.Table.from_pylist(ROWS[:1], schema=INPUT))))
        while not task.done():
            await asyncio.sleep(0)
            if engines.asked >= most:
                task.cancel()
                return None
        return read_result((await task).to_pylist()[0]["result"])

    assert asyncio.run(one(killed, most=14)) is None
    assert not observed
    (kept,) = (tmp_path / "replies").iterdir()
    answered = len(kept.read_text().splitlines())
    assert answered > 0
    resumed = Outage(first=10**6, times=0)
    result = asyncio.run(one(resumed, most=10**6))
    assert result is not None and result.pairs == whole[0].pairs
    assert resumed.asked == whole[0].cost["prompts"] - answered
    assert [seen.counts for seen in observed] == [result.counts]


def test_a_hanging_engine_is_replaced():
    engines = Engines(hanging=1)
    rows = work(engines.open, no_progress_s=1.0)
    assert (len(engines.opened), engines.closed) == (2, 1)
    assert all(read_result(row["result"]).pairs for row in rows)
