"""The replies that an actor keeps as they come: at a spending limit, and on a disk that is full."""

from __future__ import annotations

import asyncio
import errno
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from memo_ray.config.models import OpenAIModel, SpendingLimit
from memo_ray.models.opening import open_model
from memo_ray.synthesis.worker import INPUT, RowWorker
from tests.ray.writing_endpoint import Endpoint
from tests.unit.synthesis.conftest import config
from tests.unit.synthesis.test_worker import ROWS, Counted


def test_at_a_spending_limit_the_rows_end_and_a_higher_one_pays_for_no_prompt_twice(tmp_path: Path):
    endpoint = Endpoint()
    endpoint.start()

    async def all_rows(spending: SpendingLimit | None) -> list[dict[str, str]]:
        generator = OpenAIModel(
            engine="openai", base_url=f"http://127.0.0.1:{endpoint.port}/v1", model="m", spending=spending
        )
        opener = partial(open_model, generator, None)
        actor = RowWorker("units", config(generator=generator), Counted(), opener, tmp_path / "replies.jsonl")

        async def one(row: dict[str, str]) -> dict[str, str]:
            batches = [batch async for batch in actor(pa.Table.from_pylist([row], schema=INPUT))]
            return batches[0].to_pylist()[0]

        return list(await asyncio.gather(*map(one, ROWS)))

    try:
        stopped = asyncio.run(all_rows(SpendingLimit(tokens=1500)))
        assert any("raise spending.tokens" in row["error"] for row in stopped)
        paid = endpoint.asked.total()
        assert paid > 0
        rows = asyncio.run(all_rows(None))
    finally:
        endpoint.stop()
    assert all(row["result"] and not row["error"] for row in rows)
    assert endpoint.asked.total() > paid and max(endpoint.asked.values()) == 1
    assert (tmp_path / "replies.jsonl").exists()


def test_a_disk_too_full_for_replies_is_named_in_the_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    endpoint = Endpoint()
    endpoint.start()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("memo_ray.models.journal.append_line", full)

    async def first() -> dict[str, str]:
        generator = OpenAIModel(engine="openai", base_url=f"http://127.0.0.1:{endpoint.port}/v1", model="m")
        opener = partial(open_model, generator, None)
        actor = RowWorker("units", config(generator=generator), Counted(), opener, tmp_path / "replies.jsonl")
        batches = [batch async for batch in actor(pa.Table.from_pylist(ROWS[:1], schema=INPUT))]
        return batches[0].to_pylist()[0]

    try:
        row = asyncio.run(first())
    finally:
        endpoint.stop()
    assert not row["result"] and "the disk is full; free space" in row["error"]
