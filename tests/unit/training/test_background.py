"""One save at a time, beside what goes on: what waits for what, and what a failure does."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from memo_ray.errors import StoreError, TrainingError
from memo_ray.training.background import HostCopies, Writer

CPU = torch.device("cpu")


@pytest.fixture
def writer(process_group: None) -> Iterator[Writer]:
    writer = Writer(CPU)
    yield writer
    writer.close()


def test_training_waits_for_the_copies_alone(writer: Writer) -> None:
    copies, files = threading.Event(), threading.Event()
    done: list[str] = []
    weights = torch.zeros(3)

    def copy() -> torch.Tensor:
        assert copies.wait(10)
        return weights.clone()

    def write(held: torch.Tensor) -> None:
        assert files.wait(10)
        done.append(f"wrote {held.tolist()}")

    writer.start(copy, write, lambda: done.append("committed"))
    threading.Timer(0.2, copies.set).start()
    writer.wait_for_copies()
    assert writer.blocked_seconds > 0.1
    weights += 1  # the next step
    assert writer.busy and done == []
    files.set()
    writer.finish()
    assert done == ["wrote [0.0, 0.0, 0.0]", "committed"]
    assert not writer.busy


def test_a_second_save_waits_for_the_first(writer: Writer) -> None:
    done: list[int] = []
    files = threading.Event()

    def write(number: int) -> None:
        if number == 0:
            assert files.wait(10)
        done.append(number)

    for number in range(2):
        threading.Timer(0.1, files.set).start()
        writer.start(lambda number=number: number, write, lambda: None)
        assert done == [0] * number, "the first was finished before the second began"
    writer.finish()
    assert done == [0, 1]


def test_what_failed_is_never_committed_and_is_told(writer: Writer) -> None:
    done: list[str] = []

    def full(_: None) -> None:
        raise StoreError("/data: the disk is full; free space and run the command again, it resumes")

    writer.start(lambda: None, full, lambda: done.append("committed"))
    while writer.busy:
        pass
    assert writer.failed
    with pytest.raises(TrainingError, match=r"^training: worker 1 of 1 could not save: /data: the disk is full; free"):
        writer.start(lambda: None, lambda _: None, lambda: None)
    assert done == []

    def broken() -> None:
        raise OSError("Input/output error")

    writer.start(broken, lambda _: done.append("wrote"), lambda: done.append("committed"))
    with pytest.raises(RuntimeError, match="OSError: Input/output error"):
        writer.finish()
    assert done == []


def test_copies_use_the_same_memory_again_and_keep_ties() -> None:
    copies = HostCopies(CPU)
    named = [("embed", torch.ones(4)), ("head", torch.ones(4))]
    first = copies.take(named, torch.bfloat16, tied={"head": "embed"})
    assert first["head"] is first["embed"]
    assert first["embed"].dtype == torch.bfloat16
    again = copies.take([("embed", torch.zeros(4))], torch.bfloat16)
    assert again["embed"] is first["embed"] and again["embed"].sum() == 0
