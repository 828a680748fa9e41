"""The watcher of EC2's notices, by a metadata service on HTTP, and as cluster/aws.yaml starts it.

That a notice drains the node of a cluster, tests/faults shows.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from memo_ray.ray_spot import NOTICE, REBALANCE, Metadata
from tests.metadata_service import MetadataService
from tests.unit.cluster.conftest import ROOT, config

WATCHER = "memo_ray.ray_spot"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[MetadataService]:
    made = MetadataService()
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", made.url)
    yield made
    made.end()


def wait_for(what: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_there_is_no_notice_until_there_is_one_and_a_token_that_ended_is_renewed(service: MetadataService) -> None:
    metadata = Metadata()
    assert metadata.get(NOTICE) is None
    service.notice(120)
    service.tokens.clear()
    told = metadata.get(NOTICE)
    assert told is not None and told["action"] == "terminate" and told["time"].endswith("Z")
    assert metadata.get(REBALANCE) is None
    service.recommend()
    assert metadata.get(REBALANCE)
    statuses = [status for path, status in service.asked if path.endswith(NOTICE)]
    assert statuses == [404, 401, 200] and len(service.tokens) == 1


def test_a_service_that_gives_no_token_is_an_error_of_http(service: MetadataService) -> None:
    metadata = Metadata()
    service.end()
    with pytest.raises(httpx.HTTPError):
        metadata.get(NOTICE)


def test_what_goes_wrong_is_said_once_and_the_watcher_looks_on(service: MetadataService) -> None:
    service.documents[NOTICE] = {"action": "terminate", "time": "soon"}
    code = "from memo_ray.ray_spot import watch; watch('127.0.0.1:1', rebalance=False, every_s=0.05)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as watcher:
        try:
            wait_for(lambda: len(service.asked) > 5)
            assert watcher.poll() is None
        finally:
            watcher.kill()
        said = watcher.communicate()[0].splitlines()
    assert len(said) == 1 and "not drained, will try again: ValueError: Invalid isoformat string: 'soon'" in said[0]


def test_a_worker_of_the_launcher_starts_one_watcher_which_outlives_the_shell(
    service: MetadataService, tmp_path: Path
) -> None:
    """The very command of the file, twice, as when Ray is started again on a node."""
    (command,) = (one for one in config()["worker_start_ray_commands"] if WATCHER in one)
    (tmp_path / ".memo-ray.sh").write_text(f"export PATH={Path(sys.executable).parent}:$PATH PYTHONPATH={ROOT}\n")
    environment = os.environ | {"HOME": str(tmp_path), "RAY_HEAD_IP": "127.0.0.1"}

    def watchers() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if WATCHER in process.cmdline() and process.environ().get("HOME") == str(tmp_path):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    try:
        for _ in range(2):
            subprocess.run(["bash", "-c", command], env=environment, check=True, timeout=30)
        wait_for(lambda: any(path.endswith(NOTICE) for path, _ in service.asked))
        assert [process.name().startswith("python") for process in watchers()].count(True) == 1
        assert (tmp_path / "memo-spot.log").read_text().count("looking for EC2's notice") == 1
    finally:
        for process in watchers():
            process.kill()


def test_nodes_that_ec2_takes_back_are_workers_and_all_of_them_look() -> None:
    assert not any(WATCHER in one for one in config()["head_start_ray_commands"])
    assert config()["worker_start_ray_commands"][-1].endswith("2>&1"), "after Ray, whose node it drains"
