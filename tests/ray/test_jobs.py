"""Stages as jobs of a cluster that was started by hand, through its Jobs API, with the run on S3."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from memo_ray.artifacts.place import open_place
from memo_ray.config.loading import load_run
from memo_ray.console import Console
from memo_ray.errors import EnvironmentProblem, GenerationError
from memo_ray.ray_jobs import connect, passed_on, stop, submit
from memo_ray.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@contextmanager
def started(python: Path) -> Iterator[str]:
    """The address of the dashboard of a cluster of one node with the packages of `python`'s environment."""
    folder = tempfile.mkdtemp(prefix="r-", dir="/tmp")
    gcs, dashboard, client, agent, metrics = free_ports(5)
    command = [
        str(python), "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
        f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}", "--num-cpus=2",
        f"--dashboard-agent-listen-port={agent}", f"--metrics-export-port={metrics}",
        "--object-store-memory=200000000", f"--temp-dir={folder}",
    ]  # fmt: skip
    # The jobs' `python` is this environment's.
    path = f"{python.parent}:{os.environ['PATH']}"
    head = subprocess.Popen(
        command, env=os.environ | {"PATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    try:
        end = time.monotonic() + 90
        while not answers(f"{address}/api/jobs/"):
            assert head.poll() is None and time.monotonic() < end, "the cluster did not start"
            time.sleep(0.5)
        yield address
    finally:
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(s3_server: str) -> Iterator[str]:
    """A cluster of this environment, whose processes know the S3 server."""
    with started(Path(sys.executable)) as address:
        yield address


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def run_of(bucket: str, tmp_path: Path, **changes: object) -> Workspace:
    """A run on S3 whose documents lie there too."""
    place = open_place(f"{bucket}/docs")
    for name in ("wall", "tower"):
        place.put(f"{name}.md", f"# The {name}\n\nThe mason Rolf Anstick built the {name} in 1801.\n".encode())
    settings = {"name": "jobs", "root": f"{bucket}/runs", "corpora": [{"name": "a", "paths": [f"{bucket}/docs"]}]}
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings | changes))
    return Workspace(load_run(path), Console(quiet=True))


def test_a_stage_is_made_by_a_job_and_submitting_again_finds_it(cluster: str, bucket: str, tmp_path: Path) -> None:
    run = run_of(bucket, tmp_path)
    job = submit(run, ["corpus"], cluster)
    made = run.finished("corpus-a")
    assert made is not None and made.record.rows["documents"] == 2
    assert submit(run, ["corpus"], cluster) == job, "it succeeded before"
    info = connect(cluster).get_job_info(job)
    assert info.metadata == {"run": "jobs", "stage": "corpus"}
    assert info.runtime_env is not None
    assert not [key for key in info.runtime_env["env_vars"] if "KEY" in key or "TOKEN" in key]
    assert "test" not in info.runtime_env["env_vars"].values(), "keys stay out of what the dashboard shows"


def test_a_job_that_fails_says_why_and_the_next_one_has_the_next_number(
    cluster: str, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(bucket, tmp_path, corpora=[{"name": "a", "paths": [f"{bucket}/nothing"]}])
    for number in (1, 2):
        with pytest.raises(GenerationError, match=rf"-corpus-{number}: failed .*the same command resumes"):
            submit(run, ["corpus"], cluster)
        assert f"corpus: {bucket}/nothing: no such object" in capsys.readouterr().out
    # A stage whose forerunner is missing ends at once, too.
    with pytest.raises(GenerationError, match=r"-training-1: failed"):
        submit(run, ["training"], cluster)


def test_jobs_can_be_stopped(cluster: str, bucket: str, tmp_path: Path) -> None:
    run = run_of(bucket, tmp_path, name="stopped")
    job = submit(run, ["corpus"], cluster, wait=False)
    assert stop(run, cluster) in ([job], [])
    end = time.monotonic() + 60
    while not (status := connect(cluster).get_job_status(job)).is_terminal():
        assert time.monotonic() < end
        time.sleep(0.5)
    assert status.value in ("STOPPED", "SUCCEEDED")
    assert stop(run, cluster) == []


def test_no_cluster_is_one_line(bucket: str, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(EnvironmentProblem, match=r"--address http://127\.0\.0\.1:\d+: no Ray dashboard answers there"):
        submit(run_of(bucket, tmp_path), ["corpus"], f"http://127.0.0.1:{port}")


def test_only_settings_without_secrets_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert passed_on()["AWS_REGION"] == "eu-central-1" and "hidden" not in passed_on().values()
