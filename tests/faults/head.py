"""The drill of the head: a job's whole cluster is lost, and the run, which is on S3, is submitted to a new one."""

from __future__ import annotations

import threading
import time

import httpx
import yaml

from memo_ray.artifacts.place import open_place
from memo_ray.artifacts.store import Artifact
from memo_ray.config.loading import load_run
from memo_ray.console import Console
from memo_ray.errors import MemoError
from memo_ray.ray_jobs import submit
from memo_ray.workspace import Workspace
from tests.faults.drill import Fault, Outcome, difference
from tests.faults.fleet import DASHBOARD, Fleet, Machine, wait_for
from tests.faults.synthesis import DELAY_S, config, endpoint, ids, tables
from tests.ray.synthesis_run import text_of
from tests.ray.writing_endpoint import Endpoint

STAGES = ("corpus", "synthesis")


def cluster(machines: Fleet) -> tuple[str, list[Machine]]:
    """A head with a dashboard and a machine of two cores that has joined it; the dashboard's address."""
    head = machines.add(cpus=0, head="")
    url = f"http://{head.address}:{DASHBOARD}"
    wait_for(lambda: answers(f"{url}/api/jobs/"), 90)
    worker = machines.add(cpus=2, head=head.gcs)
    wait_for(lambda: worker.runs("ray::IDLE") or worker.runs("raylet"), 60)
    return url, [head, worker]


def answers(url: str) -> bool:
    """Whether a GET there is well."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def run_of(machines: Fleet, stub: Endpoint, bucket: str) -> Workspace:
    """A run of ten documents in `bucket`."""
    for number in range(10):
        open_place(f"{bucket}/docs").put(f"doc-{number}.md", text_of(number).encode())
    synthesis = config(stub).model_dump(mode="json", exclude_defaults=True)
    settings = {"name": "head", "root": f"{bucket}/runs", "corpora": [{"name": "a", "paths": [f"{bucket}/docs"]}],
                "synthesis": synthesis}  # fmt: skip
    path = machines.work / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    return Workspace(load_run(path), Console(quiet=True))


def finished(run: Workspace) -> Artifact:
    """Its synthesis."""
    made = run.finished("synthesis-a")
    assert made is not None
    return made


def killed() -> Outcome:
    """Head and workers are gone; another cluster is brought up, and the same `memo submit` goes on."""
    machines = Fleet()
    try:
        with endpoint(machines.host) as stub:
            url, first = cluster(machines)
            run = run_of(machines, stub, machines.s3.bucket())
            submit(run, STAGES, url)
            whole, once = finished(run), dict(stub.asked)
            stub.asked.clear()
            stub.delay_s = DELAY_S
            run = run_of(machines, stub, machines.s3.bucket())
            ended = threading.Event()

            def strike() -> None:
                for machine in first:
                    machine.kill()
                assert ended.wait(90), "`memo submit` did not notice that the cluster is gone"

            falls = Fault(lambda: len(stub.asked) > len(once) // 3, lambda: len(stub.asked), strike)
            try:
                submit(run, STAGES, url)
                raise AssertionError("the job succeeded without its cluster")
            except (MemoError, OSError, RuntimeError) as error:
                print(f"memo submit said: {type(error).__name__}: {error}", flush=True)
            clock = time.monotonic()
            ended.set()
            url, _ = cluster(machines)
            up = time.monotonic() - clock
            submit(run, STAGES, url)
            recovery = falls.outcome() - up
            made = finished(run)
            lost, doubled = difference(ids(whole), ids(made))
            total = sum(once.values())
            return Outcome("a job", "the head is killed, and all with it", lost, doubled, tables(made) == tables(whole),
                           round(recovery, 1), stub.asked.total() - total, total, "prompts",
                           "a new cluster, and the same command")  # fmt: skip
    finally:
        machines.end()


DRILLS = {"head": killed}
