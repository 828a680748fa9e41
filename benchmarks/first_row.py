"""From a job's submission to the first row that is stored: `python benchmarks/first_row.py [--rounds 3]`.

A local cluster is started and one job run on it, which warms it (its first job copies the working directory and fills
the machine's file cache). Then the synthesis of a run of a few documents is submitted as `memo submit` does it, again
and again for a run that is new. Its generator is an endpoint here that answers at once, so an engine's own start and
its prompts take nothing, and what is left is ours: the job's process, its imports, Ray Data and the worker.

The last line is JSON: `first_row_s` and `done_s`, medians from the submission; `first_row_s_each`; `cold_s`: of the
job that warmed the cluster, to its end.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import yaml
from _engines import free_port
from _made_up import ENGLISH, Writer

from memo_ray.config.loading import load_run
from memo_ray.console import Console
from memo_ray.models.chat import ChatRequest
from memo_ray.ray_jobs import connect, submit
from memo_ray.workspace import Workspace

STARTS_S, ENDS_S = 90.0, 240.0
TEXT = "The mason Rolf Anstick built the {} in the town of Varda in {}. Its door is of oak and its roof of slate.\n"


class Generator(BaseHTTPRequestHandler):
    """An OpenAI endpoint whose replies fit their schemas and mean nothing."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One chat completion."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        schema = body["response_format"]["json_schema"]["schema"]
        asked = ChatRequest("", body["messages"], temperature=0.0, max_tokens=0, schema=schema)
        said = json.dumps(Writer(random.Random(body.get("seed", 0)), 0.0, ENGLISH, (2, 3)).reply(asked))
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
        reply = json.dumps({"id": "x", "object": "chat.completion", "created": 0, "model": body["model"],
                            "choices": [choice], "usage": usage}).encode()  # fmt: skip
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def wait_for(what: Callable[[], object], seconds: float) -> None:
    """Return once `what` is true. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.05)


@contextmanager
def cluster() -> Iterator[str]:
    """The dashboard's address of a cluster of one node."""
    folder, dashboard = tempfile.mkdtemp(prefix="r-", dir="/tmp"), free_port()
    ports = (f"--{name}={free_port()}" for name in ("port", "ray-client-server-port", "dashboard-agent-listen-port"))
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
               f"--dashboard-port={dashboard}", *ports, "--num-cpus=2", "--object-store-memory=200000000",
               f"--temp-dir={folder}"]  # fmt: skip
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "RAY_AUTH_MODE": "disabled"}
    head = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                            start_new_session=True)  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    try:
        wait_for(lambda: answers(f"{address}/api/jobs/"), STARTS_S)
        yield address
    finally:
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
        shutil.rmtree(folder, ignore_errors=True)


def answers(url: str) -> bool:
    """Whether a GET there is well."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def run_of(folder: Path, name: str, port: int) -> Workspace:
    """A run of eight documents below `folder`."""
    documents = folder / name / "docs"
    documents.mkdir(parents=True)
    for number in range(8):
        (documents / f"{number}.md").write_text(TEXT.format(f"tower of {name} {number}", 1800 + number))
    generator = {"engine": "openai", "base_url": f"http://127.0.0.1:{port}/v1", "model": "writer"}
    settings = {"name": name, "root": str(folder / "runs"), "corpora": [{"name": "a", "paths": [str(documents)]}],
                "synthesis": {"generator": generator}}  # fmt: skip
    path = folder / name / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    return Workspace(load_run(path), Console(quiet=True))


def first_row(folder: Path, name: str, port: int, address: str) -> tuple[float, float]:
    """Seconds from the submission of a run's synthesis until a row of it is stored, and until the job's end."""
    run = run_of(folder, name, port)
    submit(run, ["corpus"], address)
    clock = time.monotonic()
    job = submit(run, ["synthesis"], address, wait=False)
    wait_for(lambda: any((folder / "runs" / name).rglob("units/output/*.parquet")), ENDS_S)
    first = time.monotonic() - clock
    wait_for(lambda: connect(address).get_job_status(job).is_terminal(), ENDS_S)
    if (status := connect(address).get_job_status(job).value) != "SUCCEEDED":
        sys.exit(f"{job}: {status}\n{connect(address).get_job_logs(job)[-2000:]}")
    return first, time.monotonic() - clock


def main() -> None:
    """Warm, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ["RAY_AUTH_MODE"] = "disabled"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Generator)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_port
    with tempfile.TemporaryDirectory() as scratch, cluster() as address:
        folder = Path(scratch)
        clock = time.monotonic()
        submit(run_of(folder, "warm", port), ["corpus", "synthesis"], address)
        cold = time.monotonic() - clock
        found = [first_row(folder, f"round-{number}", port, address) for number in range(options.rounds)]
    firsts = [round(first, 1) for first, _ in found]
    done = statistics.median(done for _, done in found)
    print(json.dumps({"first_row_s": statistics.median(firsts), "done_s": round(done, 1), "first_row_s_each": firsts,
                      "cold_s": round(cold, 1)}))  # fmt: skip


if __name__ == "__main__":
    main()
