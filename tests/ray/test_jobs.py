"""Stages as jobs of a cluster that was started by hand, through its Jobs API, with the run on S3."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
import yaml
from ray.job_submission import JobSubmissionClient

from memo_ray import ray_dashboard
from memo_ray.artifacts.place import open_place
from memo_ray.config.loading import load_run
from memo_ray.console import Console
from memo_ray.errors import ConfigError, EnvironmentProblem, GenerationError
from memo_ray.ray_dashboard import connect, follow
from memo_ray.ray_jobs import passed_on, stop, submit
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
def started(python: Path, **settings: str) -> Iterator[str]:
    """The address of the dashboard of a cluster of one node with the packages and `settings` of an environment."""
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
        command, env=os.environ | {"PATH": path} | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    try:
        end = time.monotonic() + 90
        while not answers(f"{address}/api/jobs/", 401 if settings.get("RAY_AUTH_MODE") == "token" else 200):
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


def answers(url: str, status: int) -> bool:
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == status
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


def memo(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """`memo` in `folder`, with these `settings` of its environment."""
    code = "import sys; from memo_ray.cli import main; sys.exit(main(sys.argv[1:]))"
    command, told = [sys.executable, "-c", code, *arguments], os.environ | settings
    return subprocess.run(command, cwd=folder, env=told, capture_output=True, text=True, timeout=120, check=False)


def test_a_stage_is_made_by_a_job_and_what_is_unchanged_is_passed_over(
    cluster: str, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(bucket, tmp_path)
    # As from a wheel: the package alone.
    shutil.copytree(ROOT / "memo_ray", tmp_path / "site" / "memo_ray", ignore=shutil.ignore_patterns("__pycache__"))
    arguments = ("submit", "run.yaml", "--until", "corpus", "--address", cluster)
    done = memo(tmp_path, *arguments, PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 0, done.stderr
    assert "corpus-a" in done.stdout and "streaming_executor" not in done.stdout, "Ray Data's own lines stay in its log"
    made = run.finished("corpus-a")
    assert made is not None and made.record.rows["documents"] == 2
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:9")  # the address that is given counts
    job = submit(run, ["corpus"], cluster)
    assert job.endswith("-corpus-1"), "nothing has changed"
    monkeypatch.delenv("RAY_ADDRESS")
    info = connect(cluster).get_job_info(job)
    assert info.metadata == {"run": "jobs", "stage": "corpus", "at": f"{bucket}/runs/jobs"}
    assert info.runtime_env is not None
    assert not [key for key in info.runtime_env["env_vars"] if "KEY" in key or "TOKEN" in key]
    assert "test" not in info.runtime_env["env_vars"].values(), "keys stay out of what the dashboard shows"
    open_place(f"{bucket}/docs").put("mill.md", b"# The mill\n\nOdo Stell built the mill in 1810.\n")
    assert submit(run, ["corpus"], cluster).endswith("-corpus-2")
    made = run.finished("corpus-a")
    assert made is not None and made.record.rows["documents"] == 3


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


def test_what_ends_a_job_before_its_attempt_is_counted_too(cluster: str, bucket: str, tmp_path: Path) -> None:
    run_of(bucket, tmp_path, name="refused", corpora=[{"name": "a", "paths": [f"{bucket}/nothing"]}]).remember_config()
    open_place(f"{bucket}/runs/misspelt").put("run.yaml", b"name: misspelt\ncorpus: []\n")
    open_place(f"{bucket}/runs/misspelt").put("current.json", b"{}")
    client = connect(cluster)
    commands = ["refused", "misspelt", "nowhere", "refused --made-for 2.40.0/3.11"]
    jobs = [
        client.submit_job(entrypoint=f"python -m memo_ray.job corpus {bucket}/runs/{command}") for command in commands
    ]
    end = time.monotonic() + 90
    while not all(client.get_job_status(job).is_terminal() for job in jobs):
        assert time.monotonic() < end
        time.sleep(0.5)
    assert [client.get_job_info(job).driver_exit_code for job in jobs] == [2] * 4
    wanted = {("refused", "CorpusError"), ("refused", "EnvironmentProblem"), ("misspelt", "ConfigError")}
    wanted |= {("nowhere", "ConfigError")}
    while (found := failures(cluster)) != dict.fromkeys(wanted, 1.0):
        assert time.monotonic() < end, found
        time.sleep(0.5)


def failures(cluster: str) -> dict[tuple[str, str], float]:
    """Run and reason → how many failures of its corpus the node exports, of the runs that the test above makes."""
    targets = httpx.get(f"{cluster}/api/prometheus/sd", trust_env=False).json()
    found: dict[tuple[str, str], float] = {}
    for target in (target for group in targets for target in group["targets"]):
        page = ""
        with suppress(httpx.HTTPError):  # a process that is not up yet
            page = httpx.get(f"http://{target}/metrics", trust_env=False).text
        for labels, value in re.findall(r"^ray_memo_stage_failures_total\{(.*)\} (\S+)$", page, re.MULTILINE):
            told = dict(re.findall(r'(\w+)="([^"]*)"', labels))
            if told["reason"] and told["run"] in ("refused", "misspelt", "nowhere"):
                key = told["run"], told["reason"]
                found[key] = found.get(key, 0.0) + float(value)
    return found


def test_jobs_can_be_stopped_whatever_their_settings(cluster: str, bucket: str, tmp_path: Path) -> None:
    run = run_of(bucket, tmp_path, name="stopped")
    job = submit(run, ["corpus"], cluster, wait=False)
    kept = run.place.get("run.yaml")
    other = run_of(bucket, tmp_path, name="stopped", training={"epochs": 2})
    with pytest.raises(ConfigError, match=f"{job}: is under way with other settings of this run; .* memo stop s3://"):
        submit(other, ["corpus"], cluster)
    assert run.place.get("run.yaml") == kept, "the job's settings stay as they are"
    assert stop(other, cluster) == [job]
    assert connect(cluster).get_job_status(job).value in ("STOPPED", "SUCCEEDED")
    assert stop(run, cluster) == []


class Forward:
    """A forwarded port to `address`, which can break."""

    def __init__(self, address: str) -> None:
        self.target = ("127.0.0.1", int(address.rpartition(":")[2]))
        (self.port,) = free_ports(1)
        self.address = f"http://127.0.0.1:{self.port}"
        self.open: list[socket.socket] = []
        self.begin()

    def begin(self) -> None:
        """Forward, again."""
        listening = socket.create_server(("127.0.0.1", self.port))
        self.open = [listening]
        threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def end(self) -> None:
        """Break what is open, and refuse what comes."""
        for one in self.open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                ours, _ = listening.accept()
                theirs = socket.create_connection(self.target)
                self.open += [ours, theirs]
                for pair in ((ours, theirs), (theirs, ours)):
                    threading.Thread(target=self._copy, args=pair, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)


def test_a_job_is_followed_over_a_connection_that_breaks(
    cluster: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    direct, forward = connect(cluster), Forward(cluster)
    count = "import time\nfor n in range(10):\n    print(f'line {n}', flush=True)\n    time.sleep(1)"
    job = direct.submit_job(entrypoint=shlex.join(["python", "-c", count]))

    def strike() -> None:
        wait_for_log(direct, job, "line 3")
        forward.end()
        wait_for_log(direct, job, "line 5")
        forward.begin()

    threading.Thread(target=strike, daemon=True).start()
    follow(connect(forward.address), job, forward.address)
    printed = capsys.readouterr().out
    assert printed == direct.get_job_logs(job)  # with what Ray itself says in it
    assert [line for line in printed.splitlines() if line.startswith("line ")] == [f"line {n}" for n in range(10)]
    # And for good.
    monkeypatch.setattr(ray_dashboard, "PATIENCE_S", 2.0)
    client, job = connect(forward.address), direct.submit_job(entrypoint="sleep 100")
    forward.end()
    with pytest.raises(
        EnvironmentProblem, match=f"{job}: its cluster is out of reach; unless .*the same command follows"
    ):
        follow(client, job, forward.address)
    assert not direct.get_job_status(job).is_terminal()
    direct.stop_job(job)


def wait_for_log(client: JobSubmissionClient, job: str, line: str) -> None:
    """Wait until a job has written `line`."""
    end = time.monotonic() + 60
    while line not in client.get_job_logs(job):
        assert time.monotonic() < end
        time.sleep(0.2)


def test_no_cluster_is_one_line_and_changes_nothing(bucket: str, tmp_path: Path) -> None:
    (port,), run = free_ports(1), run_of(bucket, tmp_path)
    with pytest.raises(EnvironmentProblem, match=r"--address http://127\.0\.0\.1:\d+: no Ray dashboard answers there"):
        submit(run, ["corpus"], f"http://127.0.0.1:{port}")
    assert run.place.get("run.yaml") is None


@pytest.mark.parametrize("address", ["127.0.0.1:1", "foo", "ray://127.0.0.1:10001", "http://", "http://head:port"])
def test_an_address_must_be_a_dashboards(address: str) -> None:
    with pytest.raises(ConfigError, match=f"--address {address}: give the dashboard's address, as http://HOST:8265"):
        connect(address)


def test_a_missing_or_wrong_token_is_one_line(bucket: str, tmp_path: Path) -> None:
    run_of(bucket, tmp_path)
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "right" * 8}
    with started(Path(sys.executable), **token) as address:
        for settings in (
            {"RAY_AUTH_MODE": "disabled"},
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "", "HOME": str(tmp_path)},
            {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "wrong" * 8},
        ):
            done = memo(tmp_path, "submit", "run.yaml", "--stop", "--address", address, **settings)
            line = done.stderr.strip().splitlines()[-1]
            assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
            assert line.startswith(f"memo submit: --address {address}: the cluster asks for its token"), line
            assert "RAY_AUTH_MODE=token" in line and "RAY_AUTH_TOKEN" in line and "~/.ray/auth_token" in line
        done = memo(tmp_path, "submit", "run.yaml", "--stop", "--address", address, **token)
        assert (done.returncode, done.stdout) == (0, "no job of this run is under way\n"), done.stderr


def test_only_settings_without_secrets_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    assert passed_on()["AWS_REGION"] == "eu-central-1" and "hidden" not in passed_on().values()
