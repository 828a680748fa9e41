"""A drill of the head that comes back: its state is in Redis, and clients ask while it is away.

As a RayService has it: the application is deployed through the dashboard, so no driver is needed, and clients reach the
proxy of a machine that serves.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx

from tests.faults.drill import Outcome
from tests.faults.fleet import DASHBOARD, Fleet, wait_for
from tests.faults.head import answers
from tests.faults.serving import BEFORE_S, QUIET_S, Clients
from tests.ray.scripted_endpoint import Endpoint

PROGRAM = "redis-server"
PORT = 8000
AWAY_S = 10.0
"""How long the head is gone, as until its pod is started again."""


def can_keep_state() -> bool:
    """Whether Redis is installed."""
    return shutil.which(PROGRAM) is not None


@contextmanager
def redis(machines: Fleet) -> Iterator[str]:
    """The address of a Redis beside the driver."""
    with socket.socket() as free:
        free.bind((machines.host, 0))
        port = free.getsockname()[1]
    command = [PROGRAM, "--bind", machines.host, "--port", str(port), "--protected-mode", "no", "--save", ""]
    process = subprocess.Popen([*command, "--dir", str(machines.work)], stdout=subprocess.DEVNULL)
    try:
        yield f"{machines.host}:{port}"
    finally:
        process.terminate()
        process.wait()


def application(stub: Endpoint) -> dict[str, Any]:
    """A Serve config file with memory and executive at the stub."""
    url = f"http://{stub.host}:{stub.port}/v1"
    models = {name: {"engine": "openai", "base_url": url, "model": model, "max_retries": 2}
              for name, model in (("memory", "remembers"), ("executive", "decides"))}  # fmt: skip
    memo = {"name": "memo", "route_prefix": "/", "import_path": "memo_ray.serving.ray_serving:app",
            "args": {"serving": models}}  # fmt: skip
    return {"proxy_location": "EveryNode", "http_options": {"host": "0.0.0.0", "port": PORT}, "applications": [memo]}


def state(url: str) -> str:
    """What the dashboard at `url` says of the application; empty while it says nothing."""
    with suppress(httpx.HTTPError, KeyError, ValueError):
        told = httpx.get(f"{url}/api/serve/applications/", timeout=5, trust_env=False).raise_for_status().json()
        return told["applications"]["memo"]["status"]
    return ""


def head() -> Outcome:
    """The head is killed and started again, at the same address with the same Redis."""
    machines = Fleet()
    try:
        with redis(machines) as address:
            stub = Endpoint(host=machines.host, delay_s=0.2)
            stub.start()
            first = machines.add(cpus=0, head="", RAY_REDIS_ADDRESS=address)
            url = f"http://{first.address}:{DASHBOARD}"
            wait_for(lambda: answers(f"{url}/api/version"), 90)
            worker = machines.add(cpus=2, head=first.gcs)
            wait_for(lambda: worker.runs("raylet"), 60)
            put = httpx.put(f"{url}/api/serve/applications/", json=application(stub), timeout=60, trust_env=False)
            put.raise_for_status()
            wait_for(lambda: state(url) == "RUNNING", 120)
            clients = Clients(f"http://{worker.address}:{PORT}")
            clients.start()
            time.sleep(BEFORE_S)
            first.kill()
            before = clients.told.total()
            time.sleep(AWAY_S)
            meanwhile = clients.told.total() - before
            clock = time.monotonic()
            first.start()
            wait_for(lambda: state(url) == "RUNNING", 120, every=0.5)
            recovery = time.monotonic() - clock
            time.sleep(QUIET_S)
            clients.end()
            stub.stop()
        assert meanwhile, "nothing was answered while the head was away"
        lost = sum(name not in clients.told for name in clients.asked)
        doubled = sum(times > 1 for times in clients.told.values())
        return Outcome("serving", "the head is killed, and comes back with its state from Redis", lost, doubled,
                       clients.wrong == 0, round(recovery, 1), clients.asked.total() - len(clients.asked),
                       len(clients.asked), "questions", "a new head, as KubeRay makes one")  # fmt: skip
    finally:
        machines.end()


DRILLS = {"serving-head": head}
