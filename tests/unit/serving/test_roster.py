"""Names, leases and holding back, without Ray."""

from __future__ import annotations

import asyncio

import pytest

from memo_ray.errors import GenerationError
from memo_ray.serving.backend import Busy
from memo_ray.serving.roster import Roster, Target

pytestmark = pytest.mark.anyio

OLD, NEW = Target("law", 1, "memory-law-1"), Target("law", 2, "memory-law-2")
WIKI = Target("wiki", 4, "memory-wiki-4")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def roster_of(targets: dict[str, Target], lease_s: float = 60) -> Roster:
    roster = Roster(lease_s, max_waiting=1)
    roster.want(targets)
    for entry, target in targets.items():
        await roster.put(entry, target)
    return roster


async def test_a_name_means_what_it_is_configured_to_mean() -> None:
    roster = await roster_of({"law": OLD, "law@2": NEW, "wiki": WIKI})
    assert roster.names() == ("law", "law@1", "law@2", "wiki", "wiki@4")
    assert [roster.find(name) for name in ("", "law", "law@1", "law@2", "wiki@4")] == [OLD, OLD, OLD, NEW, WIKI]
    pinned = await roster_of({"law@1": OLD, "law@2": NEW})
    assert pinned.find("law") == NEW
    assert pinned.find("") == OLD
    for name in ("law@3", "wiki", "la"):
        with pytest.raises(GenerationError, match=f"^memory {name}: is not served"):
            pinned.find(name)


async def test_a_question_keeps_its_version_and_the_old_one_goes_after_it() -> None:
    roster = await roster_of({"law": OLD})
    first, targets = await roster.acquire(("law",))
    assert targets == (OLD,)
    assert await roster.put("law", NEW) == OLD
    draining = asyncio.create_task(roster.drained(OLD))
    second, targets = await roster.acquire(("law", "law@2"))
    assert targets == (NEW,)
    await roster.release(second)
    await asyncio.sleep(0.01)
    assert not draining.done() and roster.in_hand(OLD) == 1
    await roster.release(first)
    await asyncio.wait_for(draining, 1)


async def test_a_lease_that_nobody_returns_runs_out() -> None:
    roster = await roster_of({"law": OLD}, lease_s=0.05)
    await roster.acquire(("law",))
    await asyncio.wait_for(roster.drained(OLD), 1)
    assert roster.in_hand(OLD) == 0


async def test_questions_wait_while_an_engine_is_reloaded_and_some_are_refused() -> None:
    roster = await roster_of({"law": OLD, "wiki": WIKI})
    lease, _ = await roster.acquire(("law",))
    inside = asyncio.Event()
    reloaded = Target("law", 2, OLD.application)

    async def reload() -> None:
        async with roster.held(OLD):
            inside.set()
            await roster.put("law", reloaded)

    reloading = asyncio.create_task(reload())
    await asyncio.sleep(0)
    waiting = asyncio.create_task(roster.acquire(("law",)))
    await asyncio.sleep(0.01)
    assert not inside.is_set() and not waiting.done()
    with pytest.raises(Busy):
        await roster.acquire(("law",))
    assert (await roster.acquire(("wiki",)))[1] == (WIKI,)
    await roster.release(lease)
    await asyncio.wait_for(reloading, 1)
    assert (await asyncio.wait_for(waiting, 1))[1] == (reloaded,)


async def test_a_dropped_memory_is_not_listed() -> None:
    roster = await roster_of({"law": OLD, "wiki": WIKI})
    assert roster.drop("law") == OLD
    assert roster.names() == ("wiki", "wiki@4")
    with pytest.raises(GenerationError, match="memory law: is not served"):
        await roster.acquire(("",))
