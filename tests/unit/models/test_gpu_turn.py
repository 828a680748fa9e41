"""Engines of one GPU take turns to start; those of other GPUs do not wait."""

from __future__ import annotations

import multiprocessing
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from memo_ray.errors import EnvironmentProblem
from memo_ray.models.gpu_turn import turn_on_gpu

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMO_CACHE", str(tmp_path))


def start(device: str, seen: Any, hold_s: float) -> None:
    with turn_on_gpu(device):
        seen.put((device, "began", time.monotonic()))
        time.sleep(hold_s)
        seen.put((device, "ended", time.monotonic()))


def test_two_engines_of_one_gpu_start_one_after_the_other_and_another_gpu_at_once() -> None:
    seen: Any = FORK.Queue()
    engines = [FORK.Process(target=start, args=(device, seen, 0.5)) for device in ("0", "0", "1")]
    for engine in engines:
        engine.start()
    events = sorted((seen.get(timeout=20) for _ in range(6)), key=lambda event: event[2])
    for engine in engines:
        engine.join()
    assert [what for device, what, _ in events if device == "0"] == ["began", "ended", "began", "ended"]
    first = [device for device, what, _ in events if what == "began"][:2]
    assert set(first) == {"0", "1"}


def test_a_process_forked_during_the_start_does_not_keep_the_turn() -> None:
    with turn_on_gpu("0"):
        engine = FORK.Process(target=time.sleep, args=(20,))
        engine.start()
    clock = time.monotonic()
    with turn_on_gpu("0"):
        took = time.monotonic() - clock
    engine.kill()
    engine.join()
    assert took < 10


def test_a_killed_start_leaves_the_turn_to_the_next() -> None:
    seen: Any = FORK.Queue()
    engine = FORK.Process(target=start, args=("0", seen, 60))
    engine.start()
    assert seen.get(timeout=20)[1] == "began"
    engine.kill()
    engine.join()
    with turn_on_gpu("0"):
        pass


def test_a_link_in_the_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("kept")
    (tmp_path / f"gpu-{socket.gethostname()}-all.lock").symlink_to(other)
    with pytest.raises(EnvironmentProblem, match="cannot be written"), turn_on_gpu(""):
        pass
    assert other.read_text() == "kept"
