"""How the deployment of memories follows the registry, over applications that start at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from memo_ray.artifacts.place import open_place
from memo_ray.artifacts.registry import Entry, Lineage, Memory, Registry
from memo_ray.config.serving import ServingConfig
from memo_ray.errors import ConfigError, StoreError
from memo_ray.serving import memories
from memo_ray.serving.memories import MemoriesDeployment
from memo_ray.serving.roster import Target

pytestmark = pytest.mark.anyio


class Apps:
    """Stands for the engines: notes what is started and ended. A version of `broken` does not start."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.broken: set[str] = set()
        self.started = asyncio.Event()
        self.started.set()

    async def end_all(self) -> None:
        self.log.clear()

    async def load(self, memory: Memory) -> Target:
        self.log.append(f"load {memory.reference}")
        await self.started.wait()
        if memory.reference in self.broken:
            raise ConfigError(f"{memory.reference}: is broken")
        return Target(memory.name, memory.version, f"app-{len(self.log)}")

    async def reload(self, served: Target, memory: Memory) -> Target:
        self.log.append(f"reload {served.reference} as {memory.reference}")
        return replace(served, version=memory.version)

    async def unload(self, target: Target, in_use: Collection[str]) -> None:
        self.log.append(f"unload {target.reference}" + (" but its engine" if target.application in in_use else ""))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    async def healthy(_: Target) -> str:
        return "HEALTHY"

    monkeypatch.setattr(memories, "health_of", healthy)
    made = Registry(open_place(tmp_path))
    for name in ("law", "wiki"):
        add(made, name)
    return made


def add(registry: Registry, name: str, kind: Literal["full", "lora"] = "full") -> None:
    path = f"artifacts/{name}-{len(registry.versions(name)) + 1}"
    lineage = Lineage(done="trained")
    registry.add(
        Entry(
            name=name, kind=kind, path=path, artifact=path, base="b", base_digest="d", corpora=(name,), lineage=lineage
        )
    )


async def deployed(tmp_path: Path, *entries: str, swap: Literal["beside", "in_place"] = "beside") -> tuple[Any, Apps]:
    config = ServingConfig(memories=entries, swap=swap, registry_poll_s=0.01)
    deployment, apps = MemoriesDeployment(config, str(tmp_path)), Apps()
    deployment._apps = apps  # type: ignore[assignment]
    await deployment.reconfigure({"memories": list(entries)})
    return deployment, apps


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def serves(deployment: Any, entry: str) -> str | None:
    return next(row["serves"] for row in await deployment.table() if row["entry"] == entry)


async def test_a_newer_version_takes_over_and_a_withdrawn_one_goes(tmp_path: Path, registry: Registry) -> None:
    deployment, apps = await deployed(tmp_path, "law", "law@1", "wiki")
    await until(lambda: len(apps.log) == 2)
    assert sorted(apps.log) == ["load law@1", "load wiki@1"]
    lease, (old,) = await deployment.acquire(("law",))
    add(registry, "law")
    await until(lambda: "load law@2" in apps.log)
    await until(lambda: deployment._roster.find("law").version == 2)
    await deployment.release(lease)
    registry.withdraw("law", 1)
    await until(lambda: "unload law@1" in apps.log)
    assert await deployment.names() == ("law", "law@2", "wiki", "wiki@1")
    rows = {row["entry"]: row for row in await deployment.table()}
    assert rows["law@1"]["health"] == "DEPLOY_FAILED" and "no version" in rows["law@1"]["error"]
    assert (rows["law"]["serves"], rows["law"]["health"], old.version) == ("law@2", "HEALTHY", 1)


async def test_a_version_that_does_not_start_leaves_the_old_one(tmp_path: Path, registry: Registry) -> None:
    deployment, apps = await deployed(tmp_path, "law")
    await until(lambda: apps.log)
    apps.broken.add("law@2")
    add(registry, "law")
    await until(lambda: "law" in deployment._errors)
    (row,) = await deployment.table()
    assert (row["serves"], row["failed"], row["error"]) == ("law@1", "law@2", "law@2: is broken")
    await asyncio.sleep(0.05)
    assert apps.log.count("load law@2") == 1
    apps.broken.clear()
    await deployment.swap("law")
    await until(lambda: "unload law@1" in apps.log)
    assert await serves(deployment, "law") == "law@2"


async def test_a_version_chosen_by_hand_stays_until_the_newest_is_followed_again(
    tmp_path: Path, registry: Registry
) -> None:
    add(registry, "law")
    deployment, apps = await deployed(tmp_path, "law", "wiki@1")
    await until(lambda: len(apps.log) == 2)
    await deployment.swap("law@1")
    await until(lambda: "unload law@2" in apps.log)
    add(registry, "law")
    await asyncio.sleep(0.05)
    assert await serves(deployment, "law") == "law@1"
    await deployment.swap("law")
    await until(lambda: "unload law@1" in apps.log)
    assert await serves(deployment, "law") == "law@3"
    with pytest.raises(StoreError, match="there is no such version"):
        await deployment.swap("law@7")
    with pytest.raises(ConfigError, match=r"^wiki: is not among serving\.memories as wiki"):
        await deployment.swap("wiki@1")


async def test_in_place_the_engine_is_reloaded_once_its_questions_are_over(tmp_path: Path, registry: Registry) -> None:
    deployment, apps = await deployed(tmp_path, "law", swap="in_place")
    await until(lambda: deployment._roster.targets)
    lease, _ = await deployment.acquire(("law",))
    add(registry, "law")
    await until(lambda: deployment._bringing)
    waiting = asyncio.create_task(deployment.acquire(("law",)))
    await asyncio.sleep(0.05)
    assert not waiting.done() and apps.log == ["load law@1"]
    await deployment.release(lease)
    _, (target,) = await waiting
    assert (target.reference, target.application) == ("law@2", "app-1")
    await until(lambda: len(apps.log) == 3)
    assert apps.log[1:] == ["reload law@1 as law@2", "unload law@1 but its engine"]


async def test_a_list_that_changes_loads_and_ends_and_gives_up_what_is_not_wanted(
    tmp_path: Path, registry: Registry
) -> None:
    deployment, apps = await deployed(tmp_path, "law")
    await until(lambda: deployment._roster.targets)
    apps.started.clear()
    await deployment.reconfigure({"memories": ["wiki"]})
    await until(lambda: "unload law@1" in apps.log)
    assert [row["loading"] for row in await deployment.table()] == ["wiki@1"]
    registry.withdraw("wiki", 1)
    await until(lambda: not deployment._bringing)
    apps.started.set()
    await asyncio.sleep(0.03)
    assert await deployment.names() == ()
