"""A process may start one private cluster after the other, as a notebook does."""

from __future__ import annotations

import logging.config
from pathlib import Path

import pytest
import ray.data

from memo_ray.ray_session import session


def test_the_second_cluster_of_a_process_does_not_write_to_the_folder_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logging.getLogger("ray.data")
    monkeypatch.setattr(log, "level", log.level)
    for _ in range(3):
        with session(tmp_path / "logs"):
            log.setLevel(logging.DEBUG)
            assert ray.data.range(3).sum("id") == 3
            # What servers do when they start; it closes every log file that the process has open.
            logging.config.dictConfig({"version": 1, "disable_existing_loggers": False})
