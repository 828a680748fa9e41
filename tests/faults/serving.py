"""Drills of serving: a replica, its machine or an engine dies while clients ask, which try again for a minute.

Protocol and gateway run on Ray Serve over two machines; memory and executive are a scripted endpoint, but for the drill
of the engine, which is a real one on the tiny model.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import psutil

from memo_ray.config.models import OpenAIModel
from memo_ray.config.serving import ReplicaSettings
from tests.faults.drill import Outcome
from tests.faults.fleet import Fleet, fleet, wait_for
from tests.ray.scripted_endpoint import ANSWER, QUESTION, Endpoint
from tests.ray.test_serving import settings

CLIENTS = 4
TRIES = 7
"""A client's tries of one question, after pauses that double: about a minute."""
BEFORE_S, QUIET_S = 5.0, 10.0


@dataclass
class Clients:
    """Some that ask one question after another. `asked`: how often each question was put; `told`: its answers."""

    url: str
    asked: Counter[str] = field(default_factory=Counter)
    told: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    failed_at: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self.threads = [threading.Thread(target=self.ask, args=(n,), daemon=True) for n in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def ask(self, client: int) -> None:
        """Until it is told to end."""
        number = 0
        while not self.ended.is_set():
            number += 1
            self.put(f"{client}-{number}")

    def put(self, name: str) -> None:
        """One question, a few times if need be."""
        for again in range(TRIES):
            self.asked[name] += 1
            try:
                reply = httpx.post(f"{self.url}/v1/answers", json={"question": QUESTION}, timeout=60, trust_env=False)
            except httpx.HTTPError:
                reply = None
            if reply is not None and reply.status_code == 200:
                self.told[name] += 1
                self.wrong += reply.json()["answer"] != ANSWER
                return
            self.failed_at = time.monotonic()
            time.sleep(0.5 * 2**again)

    def end(self) -> None:
        self.ended.set()
        for thread in self.threads:
            thread.join(60)


@contextmanager
def served(machines: Fleet) -> Iterator[Clients]:
    """The application with two replicas of the protocol, and clients that ask it."""
    from memo_ray.serving.ray_serving import deploy

    stub = Endpoint(host=machines.host, delay_s=0.2)
    stub.start()

    def model(name: str) -> OpenAIModel:
        url = f"http://{stub.host}:{stub.port}/v1"
        return OpenAIModel(engine="openai", base_url=url, model=name, max_retries=2)

    two = ReplicaSettings(min_replicas=2, max_replicas=2)
    config = settings(stub, executive=model("decides"), memory=model("remembers"), protocol_replicas=two,
                      memory_replicas=two, executive_replicas=two)  # fmt: skip
    try:
        with deploy(config, None, None, wait_s=90) as run:
            clients = Clients(run.url)
            clients.start()
            yield clients
            clients.end()
    finally:
        stub.stop()


def replicas() -> int:
    """How many replicas run, of all deployments."""
    from ray import serve

    told = serve.status().applications.values()
    states = [deployment.replica_states for application in told for deployment in application.deployments.values()]
    return sum(count for state in states for name, count in state.items() if name == "RUNNING")


def drilled(fault: str, strike: Callable[[Fleet], object]) -> Outcome:
    """Ask, strike, ask on; recovered when every replica is there again and no question has failed since."""
    with fleet(2) as machines, served(machines) as clients:
        whole = replicas()
        time.sleep(BEFORE_S)
        strike(machines)
        clock = time.monotonic()
        wait_for(lambda: replicas() < whole, 60)
        wait_for(lambda: replicas() == whole, 120)
        there = time.monotonic()
        time.sleep(QUIET_S)
        clients.end()
        recovery = max(there, clients.failed_at) - clock
        lost = sum(name not in clients.told for name in clients.asked)
        doubled = sum(times > 1 for times in clients.told.values())
        return Outcome("serving", fault, lost, doubled, clients.wrong == 0, round(recovery, 1),
                       clients.asked.total() - len(clients.asked), len(clients.asked), "questions")  # fmt: skip


def kill_replica(machines: Fleet) -> None:
    """One process of the protocol."""
    for machine in machines.machines:
        for process in machine.processes():
            if "ServeReplica:memo:protocol" in " ".join(process.cmdline()):
                process.kill()
                return
    raise AssertionError("no machine runs a replica of the protocol")


def kill_machine(machines: Fleet) -> None:
    """A machine that runs one, but not the gateway alone."""
    hit = [machine for machine in machines.machines if machine.runs("ServeReplica:")]
    hit[-1].kill()


def engine() -> Outcome:
    """The process of a vLLM engine is killed: told as an error, replaced, and the same reply as before."""
    import tempfile
    from pathlib import Path
    from typing import Any

    import ray
    from ray import serve
    from ray.serve.context import _get_global_client

    from memo_ray.serving.client import healthy
    from tests.e2e import test_serving_faults as real
    from tests.tiny_model import make

    with tempfile.TemporaryDirectory(prefix="r-", dir="/tmp") as folder, tempfile.TemporaryDirectory() as model:
        ray.init(address="local", num_cpus=2, object_store_memory=2**28, include_dashboard=False,
                 configure_logging=False, log_to_driver=False, _temp_dir=folder)  # fmt: skip
        serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": real.PORT})
        controller: Any = _get_global_client()
        controller.deploy_apps(real.config(make(Path(model)), []))
        wait_for(lambda: healthy(real.URL), 200)
        before, (process,) = real.reply(), real.engines()
        process.kill()
        clock, asked, status, said = time.monotonic(), 0, 0, ""
        failed: Counter[int] = Counter()
        while (real.engines() or [process]) == [process] or status != 200:
            assert time.monotonic() < clock + 150, "it was not replaced"
            status, said = real.reply()
            asked += 1
            failed[status] += status != 200
            time.sleep(0.5)
        seconds = time.monotonic() - clock
        serve.shutdown()
        ray.shutdown()
    assert psutil.pid_exists(process.pid) is False
    return Outcome("serving", "an engine is killed", int(status != 200), 0, (status, said) == before, round(seconds, 1),
                   failed.total(), asked, "questions told to ask again")  # fmt: skip


DRILLS = {
    "serving-replica": functools.partial(drilled, "a replica is killed", kill_replica),
    "serving-node": functools.partial(drilled, "a worker node is killed", kill_machine),
    "serving-engine": engine,
}
