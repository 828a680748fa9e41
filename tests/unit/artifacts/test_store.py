"""Artefacts: finished or not there at all, whatever kills or fills what."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from memo_ray.artifacts.fingerprint import fingerprint
from memo_ray.artifacts.store import Artifact, Store
from memo_ray.errors import StoreError
from memo_ray.rows import Group

FINGERPRINT = fingerprint("corpus", 1, {"words": 6400}, {"documents": "abc"})
ROWS = [Group("g1", "all", ["c1", "c2"]), Group("g2", "all", [])]


def make(store: Store, rows: list[Group] = ROWS) -> Artifact:
    with store.attempt("corpus-a", "corpus", FINGERPRINT, {"words": 6400}, {"documents": "abc"}) as attempt:
        attempt.write("groups", rows, Group)
        attempt.facts["groups"] = len(rows)
        attempt.add_cost(engine_starts=1)
    found = store.find("corpus-a", FINGERPRINT)
    assert found is not None
    return found


def test_a_finished_artefact_is_found_with_its_rows_and_record(tmp_path: Path) -> None:
    made = make(Store(tmp_path))
    assert made.rows("groups", Group) == ROWS
    assert made.record.rows == {"groups": 2}
    assert made.record.cost["engine_starts"] == 1
    assert made.record.versions["pyarrow"]
    assert not (made.folder.parents[1] / "progress").exists()


def test_the_digest_depends_on_content_only(tmp_path: Path) -> None:
    first, again = make(Store(tmp_path / "a")), make(Store(tmp_path / "b"))
    other = make(Store(tmp_path / "c"), ROWS[:1])
    assert first.record.digest == again.record.digest != other.record.digest


def test_a_failed_attempt_leaves_no_data_but_its_progress(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail() -> None:
        with store.attempt("corpus-a", "corpus", FINGERPRINT, {}, {}) as attempt:
            attempt.write("groups", ROWS, Group)
            (attempt.progress / "done").write_text("c1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.find("corpus-a", FINGERPRINT) is None
    assert not list(tmp_path.rglob("*.parquet"))
    with store.attempt("corpus-a", "corpus", FINGERPRINT, {}, {}) as attempt:
        assert (attempt.progress / "done").read_text() == "c1"


KILLED = """
import sys, time
from memo_ray.artifacts.store import Store
with Store(sys.argv[1]).attempt("corpus-a", "corpus", sys.argv[2], {}, {}) as attempt:
    (attempt.folder / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_second_driver_is_told_and_a_killed_one_leaves_nothing_that_is_trusted(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), FINGERPRINT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None and driver.stdout.readline() == "writing\n"
        with pytest.raises(StoreError, match=f"process {driver.pid} is making corpus-a"):
            make(Store(tmp_path))
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    assert Store(tmp_path).find("corpus-a", FINGERPRINT) is None
    made = make(Store(tmp_path))
    assert [entry.path for entry in made.record.files] == ["groups.parquet"]
    assert not list(tmp_path.rglob("half"))


def test_a_record_is_never_overwritten(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = make(store)
    with pytest.raises(StoreError, match="finished this artefact first"):
        make(store, ROWS[:1])
    found = store.find("corpus-a", FINGERPRINT)
    assert found is not None and found.record == first.record and found.rows("groups", Group) == ROWS


@pytest.mark.parametrize("harm", ["truncate", "remove"])
def test_missing_or_truncated_files_are_not_trusted(tmp_path: Path, harm: str) -> None:
    made = make(Store(tmp_path))
    file = made.path("groups.parquet")
    if harm == "remove":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(StoreError, match=r"groups\.parquet: is missing or has another size"):
        Store(tmp_path).find("corpus-a", FINGERPRINT)


def test_a_record_of_another_schema_version_says_so(tmp_path: Path) -> None:
    made = make(Store(tmp_path))
    record = made.folder.parents[1] / "artifact.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"schema_version": 99, "new": 1}))
    with pytest.raises(StoreError, match="schema version 99"):
        Store(tmp_path).find("corpus-a", FINGERPRINT)


def test_a_full_disk_is_one_clear_line(tmp_path: Path) -> None:
    with (
        pytest.raises(StoreError, match="the disk is full; free space and run the command again"),
        Store(tmp_path).attempt("corpus-a", "corpus", FINGERPRINT, {}, {}),
        open("/dev/full", "w") as full,
    ):
        full.write("x" * 100_000)
    assert Store(tmp_path).find("corpus-a", FINGERPRINT) is None


def test_latest_is_the_newest_of_a_name(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store)
    time.sleep(1.1)  # records hold whole seconds
    newer = fingerprint("corpus", 1, {"words": 100}, {"documents": "abc"})
    with store.attempt("corpus-a", "corpus", newer, {"words": 100}, {}) as attempt:
        attempt.write("groups", [], Group)
    latest = store.latest("corpus-a")
    assert latest is not None and latest.record.fingerprint == newer
    assert store.latest("nothing") is None


def test_fingerprints_change_with_settings_inputs_and_version_and_refuse_unstable_values() -> None:
    prints = {
        fingerprint("a", 1, {"x": 1}, {"i": "1"}),
        fingerprint("b", 1, {"x": 1}, {"i": "1"}),
        fingerprint("a", 2, {"x": 1}, {"i": "1"}),
        fingerprint("a", 1, {"x": 2}, {"i": "1"}),
        fingerprint("a", 1, {"x": 1}, {"i": "2"}),
    }
    assert len(prints) == 5
    assert fingerprint("a", 1, {"x": 1, "y": 2}, {}) == fingerprint("a", 1, {"y": 2, "x": 1}, {})
    with pytest.raises(TypeError):
        fingerprint("a", 1, {"x": {1, 2}}, {})
