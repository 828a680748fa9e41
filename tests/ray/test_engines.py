"""Engines that outlive the passes of a synthesis, in actors of a local cluster; the one here writes by rule."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from memo_ray.config.models import VllmModel
from memo_ray.config.synthesis import Calibration, Connections, SynthesisConfig
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.rows import Reflection, Reject
from memo_ray.synthesis import ray_pass
from memo_ray.synthesis.ray_pass import Pass
from tests.local_cluster import local_cluster
from tests.ray.synthesis_run import run, settings
from tests.ray.writing_endpoint import written


class Writer:
    """An engine in the actor's own process. With `dies_at`, its process is killed at that prompt; `poison`: at every
    prompt that holds it."""

    name = "writer"

    def __init__(self, dies_at: int | None, poison: str) -> None:
        self._left, self._poison = dies_at, poison

    async def chat(self, request: ChatRequest) -> ChatReply:
        said = request.messages[-1]["content"]
        if self._left is not None:
            self._left -= 1
        if self._left == 0 or (self._poison and self._poison in said):
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(0.01)
        return ChatReply(json.dumps(written(said, request.schema or {})), "stop", 20, 10)

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        yield await self.chat(request)

    async def close(self) -> None: ...


async def open_writer(folder: Path, deaths: int, poison: str, stuck: bool, *_: Any) -> Writer:
    """The engine; each leaves its process id in `folder`. The first `deaths` die, all but the first may be stuck."""
    number = len(list(folder.iterdir()))
    (folder / str(os.getpid())).touch()
    if stuck and number:
        await asyncio.sleep(3600)
    return Writer(20 if number < deaths else None, poison)


class Engines:
    """The processes of all engines that were started in a folder."""

    def __init__(self, folder: Path, deaths: int = 0, poison: str = "", stuck: bool = False) -> None:
        self.folder = folder
        folder.mkdir()
        self.open = partial(open_writer, folder, deaths, poison, stuck)

    @property
    def started(self) -> int:
        return len(list(self.folder.iterdir()))

    def all_gone(self) -> bool:
        """Whether no engine's process is left; a killed actor takes a moment to end."""
        end = time.monotonic() + 10
        while left := [name for name in os.listdir(self.folder) if Path(f"/proc/{name}").exists()]:
            if time.monotonic() > end:
                print("left:", left)
                return False
            time.sleep(0.1)
        return True


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Four cores by name: two engines, their workers, and one for reading."""
    with local_cluster(num_cpus=4):
        yield


def engine_settings(replicas: int = 1, **changes: object) -> SynthesisConfig:
    return settings(0, generator=VllmModel(engine="vllm", model="writer", replicas=replicas), **changes)


def test_one_engine_serves_every_slice_of_every_pass(cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ray_pass, "ROWS_A_FILE", 3)
    connecting = Connections(candidates="shared_entities", max_prompts=6, calibration=Calibration(groups=1))
    engines, slices = Engines(tmp_path / "engines"), []

    class CountedPass(Pass):
        def make_slice(self, names: list[str]) -> None:
            slices.append(self.kind)
            super().make_slice(names)

    passes = partial(CountedPass, slice_rows=6)
    made = run(tmp_path / "run", engine_settings(connections=connecting), 10, passes, engines.open)
    assert slices.count("units") == 2 and {"candidates", "calibration"} <= set(slices)
    assert engines.started == made.record.cost["engine_starts"] == 1
    assert made.record.cost["engine_start_seconds"] >= 0
    assert made.record.facts["units"] == 10 and made.rows("reflections", Reflection)
    assert engines.all_gone()


def test_a_killed_engine_is_replaced_and_nothing_is_missing(cluster: None, tmp_path: Path):
    calm, deadly = Engines(tmp_path / "calm"), Engines(tmp_path / "deadly", deaths=1)
    whole = run(tmp_path / "one", engine_settings(), 6, Pass, calm.open)
    made = run(tmp_path / "two", engine_settings(), 6, Pass, deadly.open)
    assert deadly.started == made.record.cost["engine_starts"] == 2
    assert made.rows("reflections", Reflection) == whole.rows("reflections", Reflection)
    assert made.record.cost["prompts"] == whole.record.cost["prompts"], "each reply is counted once"
    assert deadly.all_gone()


def test_a_chunk_that_kills_two_engines_is_a_reject_and_the_others_are_made(cluster: None, tmp_path: Path):
    engines = Engines(tmp_path / "engines", poison="in 1803")
    made = run(tmp_path / "run", engine_settings(chunks_in_flight=1, without=("connections",)), 6, Pass, engines.open)
    assert engines.started == 3
    (lost,) = [row for row in made.rows("rejects", Reject) if row.reason == "engine"]
    assert "in flight at 2 engine deaths" in lost.detail
    assert made.record.facts["units"] == 6


def test_an_engine_that_never_starts_holds_up_no_pass(cluster: None, tmp_path: Path):
    engines = Engines(tmp_path / "engines", stuck=True)
    made = run(tmp_path / "run", engine_settings(replicas=2), 6, Pass, engines.open)
    assert engines.started == 2 and made.record.cost["engine_starts"] == 1
    assert made.record.facts["units"] == 6 and made.record.facts["candidates"] > 0
    assert engines.all_gone()


def test_no_engine_outlives_a_run_that_fails(cluster: None, tmp_path: Path):
    class Interrupted(Pass):
        def make_slice(self, names: list[str]) -> None:
            super().make_slice(names)
            raise KeyboardInterrupt

    engines = Engines(tmp_path / "engines")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", engine_settings(), 3, Interrupted, engines.open)
    assert engines.started == 1 and engines.all_gone()


async def die(folder: Path, *_: Any) -> Writer:
    (folder / str(os.getpid())).touch()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_an_engine_that_dies_while_it_starts_is_started_again_within_the_limit(cluster: None, tmp_path: Path):
    engines = Engines(tmp_path / "engines")
    with pytest.raises(GenerationError, match="engine died 2 times, engine_restarts allows 1"):
        run(tmp_path / "run", engine_settings(engine_restarts=1), 3, Pass, partial(die, engines.folder))
    assert engines.started == 2


async def refuse(*_: Any) -> Writer:
    raise ConfigError("engine_args: no such argument")


def test_an_engine_that_refuses_its_settings_ends_the_stage_with_the_reason(cluster: None, tmp_path: Path):
    with pytest.raises(GenerationError, match="synthesis: engine_args: no such argument"):
        run(tmp_path, engine_settings(), 3, Pass, refuse)
