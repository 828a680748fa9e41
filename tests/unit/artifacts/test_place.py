"""A place on a disk and one on S3 do the same; each test runs on both."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.fs
import pytest

from memo_ray.artifacts.place import Place, drop_copy, local_copy, local_folder, open_place
from memo_ray.errors import BeingMade, StoreError


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A new place of each kind."""
    root = tmp_path / "place" if request.param == "disk" else f"{request.getfixturevalue('bucket')}/some/prefix"
    return open_place(root)


def fill(folder: Path, **files: str) -> None:
    (folder / "sub").mkdir()
    for name, content in files.items():
        (folder / "sub" / name).write_text(content)


def test_objects_are_written_read_listed_and_removed(place: Place) -> None:
    assert place.get("a") is None and list(place.names()) == []
    place.put("a", b"1")
    place.put("a", b"2")
    place.put("b/c", b"3")
    place.put("b/d", b"4")
    place.put("bc", b"5")
    assert place.get("a") == b"2"
    assert list(place.names()) == ["a", "b/c", "b/d", "bc"]
    assert list(place.names("b/")) == ["b/c", "b/d"] and list(place.child("b").names()) == ["c", "d"]
    assert place.folders() == ["b"] and place.child("none").folders() == []
    place.remove("b")
    place.remove("none")
    assert list(place.names()) == ["a", "bc"]


def test_a_new_object_is_never_written_over_another(place: Place) -> None:
    assert place.put_new("record", b"first")
    assert not place.put_new("record", b"second")
    assert place.get("record") == b"first"


def test_a_stored_folder_is_complete_or_absent(place: Place) -> None:
    def fail() -> None:
        with place.storing("model") as folder:
            fill(folder, weights="half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert place.location("model") is None and list(place.names()) == []
    with place.storing("model") as folder:
        fill(folder, weights="all", config="{}")
    with place.storing("model") as folder:
        fill(folder, weights="again")
    location = place.location("model")
    assert location is not None
    here = local_folder(location)
    assert [path.relative_to(here).as_posix() for path in sorted(here.rglob("*"))] == ["sub", "sub/weights"]
    assert (here / "sub" / "weights").read_text() == "again"
    with place.storing("model") as folder:
        fill(folder, weights="other")
    again = place.location("model")
    assert again is not None
    assert (local_folder(again) / "sub" / "weights").read_text() == "other", "of the same size, but not the same"
    place.remove("model")
    assert place.location("model") is None and list(place.names()) == []


def test_several_writers_share_a_folder(place: Place) -> None:
    for rank in range(2):
        with place.sharing("state") as folder:
            (folder / f"rank-{rank}").write_text(str(rank))
    assert [place.get(f"state/rank-{rank}") for rank in range(2)] == [b"0", b"1"]


def test_a_stored_folder_becomes_part_of_another_place(place: Place, tmp_path: Path) -> None:
    with place.child("progress").storing("epoch-1") as folder:
        fill(folder, weights="w")
    target = place.child("attempt")
    written = {entry.path: entry for entry in target.adopt(place.child("progress"), "epoch-1", "epoch-1")}
    working = Path(target.url) if isinstance(target.url, str) and not target.url.startswith("s3") else tmp_path / "work"
    working.mkdir(exist_ok=True)
    (working / "table").write_text("t")
    written |= {entry.path: entry for entry in target.upload(working)}
    assert sorted(written) == ["epoch-1/sub/weights", "table"]
    place.remove("progress")
    here = target.fetch(written.values())
    assert (here / "epoch-1" / "sub" / "weights").read_text() == "w" and (here / "table").read_text() == "t"
    assert target.check(written.values()) == ""
    target.remove("table")
    assert target.check(written.values()) == "table"


def test_places_travel_to_other_processes_and_arrow_reads_them(place: Place) -> None:
    place.put("a", b"1")
    again: Place = pickle.loads(pickle.dumps(place))
    assert again.get("a") == b"1"
    filesystem, root = again.arrow()
    assert filesystem.get_file_info(f"{root}/a").type == pyarrow.fs.FileType.File
    with filesystem.open_output_stream(f"{root}/b") as stream:
        stream.write(b"2")
    assert place.get("b") == b"2"


HOLDER = """
import sys, time
from memo_ray.artifacts.place import open_place
with open_place(sys.argv[1]).exclusive("the corpus"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_at_a_time_and_a_killed_one_holds_nothing(place: Place) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, place.url], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        told = f"process {holder.pid} .*is making the corpus; wait for it, or stop it"
        with pytest.raises(BeingMade, match=told), place.exclusive("the corpus"):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    with place.exclusive("the corpus"), pytest.raises(ZeroDivisionError):
        raise ZeroDivisionError
    with place.exclusive("the corpus"):
        pass


def test_a_downloaded_file_of_another_content_is_not_trusted(bucket: str) -> None:
    place = open_place(bucket)
    with place.storing("model") as folder:
        (folder / "weights").write_text("right")
    place.put("model/weights", b"wrong")
    location = place.location("model")
    assert location is not None
    with pytest.raises(StoreError, match="model/weights: has another content than its record says"):
        local_folder(location)
    listed = json.loads(place.get("model.files.json") or b"")
    assert [entry["path"] for entry in listed] == ["weights"]


def test_large_files_go_in_parts_and_a_repeated_upload_sends_nothing(bucket: str, tmp_path: Path) -> None:
    from memo_ray.artifacts.s3_client import PART_BYTES, client

    place = open_place(bucket)
    (tmp_path / "big").mkdir()
    content = os.urandom(PART_BYTES * 2 + 1)
    (tmp_path / "big" / "weights").write_bytes(content)
    (entry,) = place.upload(tmp_path / "big")
    sent: list[str] = []
    client().meta.events.register("before-call.s3", lambda model, **_: sent.append(model.name), unique_id="sent")
    try:
        assert place.upload(tmp_path / "big") == [entry]
    finally:
        client().meta.events.unregister("before-call.s3", unique_id="sent")
    assert sent == ["ListObjectsV2", "HeadObject"]
    assert (place.fetch([entry]) / "weights").read_bytes() == content


def test_a_transfer_that_broke_off_goes_on_with_what_is_missing(bucket: str) -> None:
    from memo_ray.artifacts.s3_client import client

    place = open_place(bucket)
    sent: list[str] = []

    def note(params: dict[str, str], **_: object) -> None:
        sent.append(params["url_path"].rpartition("/")[2])

    client().meta.events.register("before-call.s3.PutObject", note, unique_id="sent")
    try:
        with place.storing("model") as folder:
            fill(folder, a="1", b="2")
        place.remove("model.files.json")  # as after a kill before the end
        place.remove("model/sub/b")
        sent.clear()
        assert place.location("model") is None
        with place.storing("model") as folder:
            fill(folder, a="1", b="2")
    finally:
        client().meta.events.unregister("before-call.s3.PutObject", unique_id="sent")
    assert sent == ["b", "model.files.json"]


@pytest.mark.parametrize("key", ["m/../../evil", "m//tmp/evil", "m/./evil"])
def test_names_of_objects_lead_nowhere_else(bucket: str, key: str) -> None:
    from memo_ray.artifacts.s3_client import client

    client().put_object(Bucket=bucket.removeprefix("s3://"), Key=f"models/{key}", Body=b"evil")
    with pytest.raises(StoreError, match="is no name that a file may have here"):
        local_folder(f"{bucket}/models/m")


def test_a_lease_that_another_took_is_noticed_and_left_alone(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from memo_ray.artifacts import lease

    monkeypatch.setattr(lease, "RENEWED_S", 1000.0)  # this process is held up for long
    place = open_place(bucket)
    with place.exclusive("the corpus") as confirm:
        confirm()
        place.put("lease", b'{"name": "another", "host": "h", "process": 1}')
        with pytest.raises(StoreError, match="was cut off for so long that another took over"):
            confirm()
    assert b"another" in (place.get("lease") or b"")


@pytest.mark.parametrize(
    ("settings", "url", "message"),
    [
        ({}, "s3://no-such-bucket-here/x", "there is no such bucket; create it"),
        ({}, "s3://", "names no bucket"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "s3://bucket/x", "the service cannot be reached"),
        ({"AWS_ENDPOINT_URL": "localhost:9000"}, "s3://bucket/x", "AWS_ENDPOINT_URL: is no address; write http://"),
        ({"AWS_ENDPOINT_URL": "https"}, "s3://bucket/x", "check http:// or https:// in AWS_ENDPOINT_URL"),
        (
            {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None, "AWS_SHARED_CREDENTIALS_FILE": "/none"},
            "s3://bucket/x",
            "there are no credentials",
        ),
    ],
)
def test_what_is_wrong_is_one_line_with_a_remedy(
    s3_server: str,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str | None],
    url: str,
    message: str,
) -> None:
    from memo_ray.artifacts import s3_client

    monkeypatch.setattr(s3_client, "TRIES", 1)
    for key, value in settings.items():
        if value is None:
            monkeypatch.delenv(key, raising=False)
        else:
            monkeypatch.setenv(key, s3_server.replace("http:", "https:") if value == "https" else value)
    s3_client._client.cache_clear()
    try:
        with pytest.raises(StoreError, match=message) as raised:
            open_place(url).put("a", b"1")
    finally:
        s3_client._client.cache_clear()
    assert "\n" not in str(raised.value)


def test_a_copy_of_somebody_elses_file_or_folder_follows_its_content(bucket: str, tmp_path: Path) -> None:
    place = open_place(f"{bucket}/sets")
    place.put("ids.json", b"[1]")
    place.put("deep/qrels", b"q")
    assert local_copy(f"{bucket}/sets/ids.json").read_bytes() == b"[1]"
    assert (local_copy(f"{bucket}/sets/") / "deep" / "qrels").read_bytes() == b"q"
    place.put("ids.json", b"[2]")
    assert local_copy(f"{bucket}/sets/ids.json").read_bytes() == b"[2]"
    assert (local_copy(f"{bucket}/sets") / "ids.json").read_bytes() == b"[2]"
    assert local_copy(str(tmp_path / "x")) == tmp_path / "x" and local_copy("~") == Path.home()
    with pytest.raises(StoreError, match=r"sets/none: there is nothing; correct the address"):
        local_copy(f"{bucket}/sets/none")


def test_a_copy_from_s3_can_be_dropped_and_a_folder_of_a_disk_is_no_copy(place: Place) -> None:
    with place.storing("model") as folder:
        fill(folder, weights="all")
    location = place.location("model")
    assert location is not None
    here = local_folder(location)
    drop_copy(location)
    assert here.is_dir() is isinstance(location, Path)
    assert (local_folder(location) / "sub" / "weights").read_text() == "all"
