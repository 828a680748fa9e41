"""What the stage says around its workers; they themselves are tried on a cluster, in tests/ray."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from memo_ray.artifacts.place import open_place
from memo_ray.config.training import TrainingConfig
from memo_ray.training.job import TOLD
from memo_ray.training.ray_training import Told, needed_of, tell_of_losses

OURS = TrainingConfig(max_sequence_length=128)


def test_what_is_cut_and_left_out_is_never_silent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tell_of_losses({"reflections": 9, "truncated": 0, "left_out": 0, "longest": 90}, OURS, 2048)
        assert not caplog.messages
        tell_of_losses({"reflections": 9, "truncated": 2, "left_out": 1, "longest": 1260}, OURS, 2048)
        tell_of_losses({"reflections": 9, "truncated": 0, "left_out": 1, "longest": 1260}, OURS, 1024)
    both, one = caplog.messages
    assert both.startswith("training.max_sequence_length: at 128 tokens 2 of 9 answers are cut and 1 reflections are")
    assert both.endswith("1260 would hold all of them")
    assert "cut" not in one
    assert one.endswith("1260 would hold all of them, but the base has 1024 positions")


def test_a_cluster_that_became_too_small_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    needed = needed_of(TrainingConfig(workers=2, cpus_per_worker=3), gpu=False)
    told = Told(open_place(tmp_path), lambda *_: None, needed)
    for there in (8, 4, 4, 6, 0):
        told.look_at_cluster({"CPU": there} if there else {})
    assert [message.partition(";")[0] for message in caplog.messages] == [
        f"training: waits for machines: its workers need 6 CPUs, the cluster has {there}" for there in (4, 0)
    ]
    assert needed_of(TrainingConfig(workers=2, cpus_per_worker=3), gpu=True) == ("GPU", 2)


def test_a_worker_that_was_lost_is_told_and_an_earlier_command_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = open_place(tmp_path)
    told = Told(place, lambda *_: None, ("CPU", 1))
    for done, resumed_from in ((5, [4]), (7, [4]), (6, [4, 5]), (8, [4, 5])):
        note = {"done": done, "total": 9, "note": "", "resumed_from": resumed_from}
        place.put(TOLD, json.dumps(note).encode())
        told.look()
    assert caplog.messages == ["training: a worker was lost; all of them went on from step 5"]
