"""Artefacts: finished or not there at all, whatever kills or fills what."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from memo_ray.artifacts.fingerprint import fingerprint
from memo_ray.artifacts.place import Place, open_place
from memo_ray.artifacts.record import MIGRATIONS, SCHEMA_VERSION
from memo_ray.artifacts.store import Artifact, Store
from memo_ray.errors import FinishedElsewhere, StoreError
from memo_ray.rows import Group

FINGERPRINT = fingerprint("corpus", 1, {"words": 6400}, {"documents": "abc"})
ROWS = [Group("g1", "all", ["c1", "c2"]), Group("g2", "all", [])]


@pytest.fixture(params=["disk", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store lies: everything below holds on both."""
    return str(tmp_path / "store") if request.param == "disk" else f"{request.getfixturevalue('bucket')}/run"


def make(store: Store, rows: list[Group] = ROWS) -> Artifact:
    with store.attempt("corpus-a", "corpus", FINGERPRINT, {"words": 6400}, {"documents": "abc"}) as attempt:
        attempt.write("groups", rows, Group)
        attempt.facts["groups"] = len(rows)
        attempt.add_cost(engine_starts=1)
    found = store.find("corpus-a", FINGERPRINT)
    assert found is not None
    return found


def test_a_finished_artefact_is_found_with_its_rows_and_record(root: str) -> None:
    made = make(Store(root))
    assert made.rows("groups", Group) == ROWS
    assert made.record.rows == {"groups": 2}
    assert made.record.cost["engine_starts"] == 1
    assert made.record.versions["pyarrow"]
    assert not [name for name in open_place(root).names() if "/progress/" in name]


def test_the_digest_depends_on_content_only(tmp_path: Path) -> None:
    first, again = make(Store(tmp_path / "a")), make(Store(tmp_path / "b"))
    other = make(Store(tmp_path / "c"), ROWS[:1])
    assert first.record.digest == again.record.digest != other.record.digest


def test_a_failed_attempt_leaves_no_data_but_its_progress(root: str) -> None:
    store = Store(root)

    def fail() -> None:
        with store.attempt("corpus-a", "corpus", FINGERPRINT, {}, {}) as attempt:
            attempt.write("groups", ROWS, Group)
            attempt.progress.put("done", b"c1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.find("corpus-a", FINGERPRINT) is None
    assert not [name for name in open_place(root).names() if name.endswith(".parquet")]
    with store.attempt("corpus-a", "corpus", FINGERPRINT, {}, {}) as attempt:
        assert attempt.progress.get("done") == b"c1"


KILLED = """
import sys, time
from memo_ray.artifacts.store import Store
with Store(sys.argv[1]).attempt("corpus-a", "corpus", sys.argv[2], {}, {}) as attempt:
    (attempt.folder / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_second_driver_is_told_and_a_killed_one_leaves_nothing_that_is_trusted(root: str) -> None:
    command = [sys.executable, "-c", KILLED, root, FINGERPRINT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None and driver.stdout.readline() == "writing\n"
        with pytest.raises(StoreError, match=f"process {driver.pid} .*is making corpus-a"):
            make(Store(root))
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    assert Store(root).find("corpus-a", FINGERPRINT) is None
    made = make(Store(root))
    assert [entry.path for entry in made.record.files] == ["groups.parquet"]
    assert not [name for name in open_place(root).names() if "half" in name]


def test_a_record_is_never_overwritten(root: str) -> None:
    store = Store(root)
    first = make(store)
    with pytest.raises(FinishedElsewhere, match="finished this artefact first"):
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


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1, 99, None, "2"])
def test_a_record_of_a_schema_version_that_is_not_known_says_so(root: str, version: object) -> None:
    home, record = stored_record(root)
    home.put("artifact.json", json.dumps(record | {"schema_version": version}).encode())
    with pytest.raises(StoreError, match=f"has schema version {version}, this memo-ray reads 1 to 2; use the memo-ray"):
        Store(root).find("corpus-a", FINGERPRINT)


def test_a_record_of_an_earlier_schema_version_is_migrated(root: str) -> None:
    home, record = stored_record(root)
    assert record.pop("made_on").startswith("Linux")
    home.put("artifact.json", json.dumps(record | {"schema_version": 1}).encode())
    found = Store(root).find("corpus-a", FINGERPRINT)
    assert found is not None and found.rows("groups", Group) == ROWS
    assert (found.record.schema_version, found.record.made_on) == (SCHEMA_VERSION, "")
    assert found.record.versions == record["versions"]


def test_every_earlier_schema_version_has_a_migration() -> None:
    assert list(MIGRATIONS) == list(range(1, SCHEMA_VERSION))


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"schema_version": 2}'])
def test_a_damaged_record_says_so(root: str, content: bytes) -> None:
    home, _ = stored_record(root)
    home.put("artifact.json", content)
    with pytest.raises(StoreError, match=r"artifact\.json: is damaged \(\d+ errors\); remove "):
        Store(root).find("corpus-a", FINGERPRINT)


def stored_record(root: str) -> tuple[Place, dict[str, Any]]:
    made = make(Store(root))
    home = open_place(made.place.url.partition("/attempts/")[0])
    return home, json.loads(home.get("artifact.json") or b"")


def test_a_full_disk_is_one_clear_line(root: str) -> None:
    with (
        pytest.raises(StoreError, match="the disk is full; free space and run the command again"),
        Store(root).attempt("corpus-a", "corpus", FINGERPRINT, {}, {}),
        open("/dev/full", "w") as full,
    ):
        full.write("x" * 100_000)
    assert Store(root).find("corpus-a", FINGERPRINT) is None


def test_latest_is_the_newest_of_a_name(root: str) -> None:
    store = Store(root)
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
