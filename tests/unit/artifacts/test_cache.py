"""Scratch folders: those of a killed process are cleared, those of a living one are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from memo_ray.artifacts import cache

HELD_UNTIL_KILLED = """
import sys, time
from memo_ray.artifacts.cache import scratch_folder
with scratch_folder() as folder:
    (folder / "half").write_text("made")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_the_scratch_folder_of_a_killed_process_is_removed_by_the_next_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(cache, "UNHELD_S", -1.0)
    command = [sys.executable, "-c", HELD_UNTIL_KILLED]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        with cache.scratch_folder() as mine:
            assert (theirs / "half").is_file()
            cache.clear_scratch()
            assert mine.is_dir()
        other.kill()
    assert (theirs / "half").is_file()
    with cache.scratch_folder() as mine:
        assert not theirs.exists() and mine.is_dir()
    assert list(tmp_path.iterdir()) == []
