"""A cluster that follows its work, on this machine; the last line is one JSON object.

    python benchmarks/autoscaling.py [--nodes 3 --documents 60 --clients 32 --seconds 45]

Ray's own autoscaler (its second version, which KubeRay runs too) with Ray's provider for tests, which starts raylets
here in the place of machines: a head without cores, and from none to `--nodes` workers of two cores and one GPU, which
are names only. So a node is there in seconds, and what is measured is how long Ray takes to ask for it, to use it and
to give it back: add what your cloud takes to boot one.

- `synthesis`: the stage with an engine on each node; the engines compute nothing. `first_node_s`, `all_nodes_s`: from
  the stage's start. `seconds`: its own. `no_node_s`: from its end until no worker is left.
- `serving`: a memory with 1 to `--nodes` replicas of one GPU each; one client, then `--clients`, then one again.
  `grown_s`: from the first of many clients until all replicas run, with their nodes; `shrunk_s`: from the last of them
  until one replica and its node are left. `answers`, `wrong`, `failed`: of all questions.
- `idle_s`: after how long without work a node goes; `downscale_delay_s`: a replica. 60 and 600 s by default.

Ends with status 1 when the cluster did not grow or shrink, or when an answer was wrong or failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import _engines
import _stub
import httpx
import psutil
import ray
from _made_up import corpus
from ray import serve

from memo_ray.artifacts.store import Store
from memo_ray.config.models import ModelConfig, VllmModel
from memo_ray.config.serving import ReplicaSettings, ServingConfig
from memo_ray.progress import unheard
from memo_ray.serving.application import build_app
from memo_ray.serving.ray_serving import ServedRun, start, url_of, wait_until_healthy
from memo_ray.synthesis.ray_synthesis import synthesise

HEAD = "f" * 51 + "00000"
"""The id that Ray's provider for tests gives its head."""
PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
"""Named by its module: by its own name Ray would look for a file of defaults that its wheel has not."""
IDLE_S, DOWNSCALE_S, UPSCALE_S = 10.0, 5.0, 2.0
CALM_S = 10.0
LONGEST_S = 180.0
"""For the cluster to become what it should be."""
OF_A_NODE = {"CPU": 2, "GPU": 1, "object_store_memory": 100_000_000}


def settings(nodes: int, address: str) -> dict[str, Any]:
    """The autoscaler's."""
    keys = ("cluster_synced_files", "initialization_commands", "setup_commands", "head_setup_commands",
            "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")  # fmt: skip
    nothing: dict[str, Any] = {key: [] for key in keys}
    return nothing | {
        "cluster_name": "autoscaling",
        "max_workers": nodes,
        "idle_timeout_minutes": IDLE_S / 60,
        "upscaling_speed": 100.0,
        "provider": {
            "type": "external", "module": PROVIDER, "use_node_id_as_ip": True, "disable_node_updaters": True,
            "disable_launch_config_check": True, "launch_multiple": True, "head_node_id": HEAD,
            "gcs_address": address,
        },
        "auth": {}, "docker": {}, "file_mounts": {},
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": OF_A_NODE, "node_config": {}, "min_workers": 0, "max_workers": nodes},
        },
    }  # fmt: skip


@contextmanager
def cluster(nodes: int) -> Iterator[None]:
    """The head with its autoscaler, connected; nothing of it is left afterwards."""
    folder = tempfile.mkdtemp(prefix="r-scale-", dir="/tmp")
    port, log = _engines.free_port(), Path(folder) / "head.log"
    # Not 127.0.0.1, where nothing of Ray listens.
    address = f"{ray.util.get_node_ip_address()}:{port}"
    path = Path(folder) / "autoscaling.json"
    path.write_text(json.dumps(settings(nodes, address)))
    most = {"CPU": nodes * OF_A_NODE["CPU"], "GPU": nodes * OF_A_NODE["GPU"], "node_memory": 1e9}
    here = str(Path(__file__).parent)
    os.environ |= {
        "MEMO_AUTOSCALES_TO": json.dumps(most), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DATA_DISABLE_PROGRESS_BARS": "1", "PYTHONPATH": f"{here}:{os.environ.get('PYTHONPATH', '')}",
    }  # fmt: skip
    fake = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD}  # fmt: skip
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}",
               "--num-cpus=0", "--object-store-memory=100000000", "--include-dashboard=false",
               f"--temp-dir={folder}", f"--autoscaling-config={path}"]  # fmt: skip
    with log.open("w") as file:
        head = subprocess.Popen(command, env=os.environ | fake, stdout=file, stderr=file)
    try:
        within(90, lambda: "Ray runtime started" in log.read_text())
        ray.init(address, log_to_driver=False, configure_logging=False)
        yield
    except BaseException:
        print(log.read_text()[-2000:], file=sys.stderr)
        raise
    finally:
        ray.shutdown()
        head.terminate()
        # The workers are the autoscaler's children, and outlive it.
        left = [process for process in psutil.process_iter(["cmdline"])
                if any(folder in part for part in process.info["cmdline"] or ())]  # fmt: skip
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def within(seconds: float, what: Callable[[], object]) -> float:
    """Seconds until `what` is true. Raises TimeoutError."""
    begun = time.monotonic()
    while not what():
        if time.monotonic() > begun + seconds:
            raise TimeoutError(f"not within {seconds:g} s")
        time.sleep(0.25)
    return round(time.monotonic() - begun, 1)


def workers() -> int:
    """The nodes that are there beside the head."""
    return sum(node["Alive"] and node["NodeID"] != HEAD for node in ray.nodes())


class Watch(threading.Thread):
    """Notes when the number of worker nodes changes, from its start."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: list[tuple[float, int]] = [(0.0, workers())]
        self.ended = threading.Event()
        self.begun = time.monotonic()
        self.start()

    def run(self) -> None:
        """Until `ended`."""
        while not self.ended.wait(0.25):
            if (there := workers()) != self.seen[-1][1]:
                self.seen.append((round(time.monotonic() - self.begun, 1), there))

    def first(self, nodes: int) -> float | None:
        """When there were so many."""
        return next((when for when, there in self.seen if there >= nodes), None)


def synthesis(nodes: int, documents: int, delay_s: float) -> dict[str, Any]:
    """A stage with an engine on each node."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        plan = _stub.Plan(documents, at_once=4)
        generator = VllmModel(engine="vllm", model="stub", replicas=nodes)
        config = plan.config().model_copy(update={"generator": generator})
        made = corpus(root, documents, plan.words)
        watch = Watch()
        with Store(root).attempt("synthesis", "synthesis", "1" * 64, {}, {}) as attempt:
            synthesise(config, made, None, attempt, unheard, opener=partial(_stub.open_stub, root, delay_s))
        seconds = round(time.monotonic() - watch.begun, 1)
        rows = _stub.finished(root).record.rows
    gone = within(LONGEST_S, lambda: workers() == 0)
    watch.ended.set()
    return {
        "documents": documents, "seconds": seconds, "reflections": rows["reflections"], "no_node_s": gone,
        "first_node_s": watch.first(1), "all_nodes_s": watch.first(nodes), "nodes": watch.seen,
    }  # fmt: skip


def replicas() -> int:
    """The memory's replicas that run."""
    memory = serve.status().applications["memo"].deployments["memory"]
    return sum(number for state, number in memory.replica_states.items() if state == "RUNNING")


async def ask(url: str, clients: int, until: Callable[[], bool], told: Counter[str], lots: Iterator[int]) -> None:
    """So many clients that put one question after the other."""
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as http:

        async def client() -> None:
            while not until():
                lot = next(lots)
                try:
                    reply = await http.post("/v1/answers", json={"question": _engines.question_of(lot)})
                except httpx.HTTPError:
                    told["failed"] += 1
                    continue
                right = reply.status_code == 200 and reply.json()["answer"] == _engines.answer_of(lot)
                told["answers" if right else "failed" if reply.status_code != 200 else "wrong"] += 1

        await asyncio.gather(*(client() for _ in range(clients)))


def load(url: str, clients: int, enough: Callable[[], bool], told: Counter[str], lots: Iterator[int]) -> float:
    """Ask with so many clients until it is `enough`; the seconds."""
    ended = threading.Event()
    asking = threading.Thread(target=lambda: asyncio.run(ask(url, clients, ended.is_set, told, lots)))
    asking.start()
    try:
        return within(LONGEST_S, enough)
    finally:
        ended.set()
        asking.join()


async def open_memory(pace: _engines.Pace, script: _engines.Script, config: ModelConfig, *_: Path | None) -> Any:
    """In the place of `open_model`: a stub that takes a GPU if it is the memory's."""
    if isinstance(config, VllmModel):
        return _engines.Stub("memory", pace, script)
    return _engines.Stub(config.model, _engines.Pace(), script)


@contextmanager
def served(config: ServingConfig) -> Iterator[str]:
    """The real deployments over stubs; the gateway's URL."""
    opener = partial(open_memory, _engines.Pace(steps=10, step_ms=100), _engines.Script(turns=1))
    application = build_app(config, None, None, opener=opener)
    run = ServedRun(url_of(config.host, config.port), config)
    try:
        start(config, application)
        wait_until_healthy(run.url, time.monotonic() + LONGEST_S, LONGEST_S)
        yield run.url
    finally:
        run.close()


def serving(nodes: int, clients: int, seconds: float) -> dict[str, Any]:
    """The application; its memory has a GPU for each replica, all else shares cores."""
    following = ReplicaSettings(max_replicas=nodes, target_ongoing_requests=4, max_ongoing_requests=64,
                                upscale_delay_s=UPSCALE_S, downscale_delay_s=DOWNSCALE_S)  # fmt: skip
    config = ServingConfig(
        port=_engines.free_port(), executive=_engines.stub_config("executive"), accelerator="gpu",
        memory=VllmModel(engine="vllm", model="embedded"), memory_replicas=following,
    )  # fmt: skip
    told: Counter[str] = Counter()
    lots = count()

    def lasts(seconds: float) -> Callable[[], bool]:
        end = time.monotonic() + seconds
        return lambda: time.monotonic() > end

    watch = Watch()
    with served(config) as url:
        up = round(time.monotonic() - watch.begun, 1)
        load(url, 1, lasts(CALM_S), told, lots)
        before, there = told.total(), replicas()
        grown = load(url, clients, lambda: replicas() == nodes == workers(), told, lots)
        load(url, clients, lasts(seconds), told, lots)
        shrunk = load(url, 1, lambda: replicas() == 1 == workers(), told, lots)
    watch.ended.set()
    return {
        "up_s": up, "replicas_before": there, "grown_s": grown, "shrunk_s": shrunk, "clients": clients,
        "answers_of_one": before, "answers": told["answers"], "wrong": told["wrong"], "failed": told["failed"],
        "nodes": watch.seen, "downscale_delay_s": DOWNSCALE_S, "upscale_delay_s": UPSCALE_S,
    }  # fmt: skip


def main() -> int:
    """Both parts on one cluster."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=3, help="the most that there may be")
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--delay", type=float, default=0.3, help="seconds of a prompt of the synthesis")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20, help="of many clients after all replicas are there")
    options = parser.parse_args()
    found: dict[str, Any] = {"most_nodes": options.nodes, "idle_s": IDLE_S}
    with cluster(options.nodes):
        found["synthesis"] = synthesis(options.nodes, options.documents, options.delay)
        print(json.dumps(found["synthesis"]), file=sys.stderr, flush=True)
        found["serving"] = serving(options.nodes, options.clients, options.seconds)
    print(json.dumps(found))
    bad = found["serving"]["wrong"] + found["serving"]["failed"]
    return int(bool(bad) or found["synthesis"]["all_nodes_s"] is None)


if __name__ == "__main__":
    sys.exit(main())
