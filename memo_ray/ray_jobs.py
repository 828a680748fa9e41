"""`memo submit`: a run's stages as Ray jobs on a cluster, one after another, each with an id that follows from the run.

In go a run and the address of a cluster's dashboard; the jobs' logs come out as they are written. It is safe to submit
again: what runs is followed, what is finished and unchanged is passed over, anything else gets its next number.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from memo_ray.artifacts.place import is_remote
from memo_ray.errors import ConfigError, EnvironmentProblem, MemoError
from memo_ray.job import made_for
from memo_ray.ray_dashboard import connect, follow, reached
from memo_ray.stage_packages import part_for
from memo_ray.standing import as_they_were, settings_digest, stands
from memo_ray.workspace import Workspace

PACKAGE = Path(__file__).resolve().parent
PASSED_ON = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "HF_HUB_OFFLINE",
    "MEMO_LOG",
)
"""Settings of this environment that jobs get. Keys are none of them: they would stand in the job's metadata, for all
who see the dashboard. Nodes have roles or secrets of their own."""

AGENT_S = 60.0
"""How long a head that was started a moment ago may take until one of its agents accepts jobs."""

INSTALL_S = 3600
"""How long a node may take to install a stage's packages; of the GPU lock they are some gigabytes."""

PIP_OPTIONS = (
    *("--no-deps", "--require-hashes", "--no-build-isolation", "--only-binary=:all:", "--no-binary=deepspeed"),
    "--disable-pip-version-check",
)
"""As requirements/install.py has uv do it: nothing is resolved, and only what is published as source alone is built."""

TORCH_CPU = "--find-links=https://download.pytorch.org/whl/cpu/torch/"
"""Where PyTorch's CPU build is, which the public index has not."""

STOP_S = 60.0
"""How long a job that was told to stop may take; Ray kills its driver after a few seconds."""

UNDER_WAY = {JobStatus.PENDING, JobStatus.RUNNING}


def submit(run: Workspace, stages: Sequence[str], address: str, *, wait: bool = True, install: str = "") -> str:
    """Run `stages` as jobs, in order, and print their logs; returns the id of the last stage's newest job.

    Without `wait` only the first stage that is not done yet is submitted: the next one needs its result. `install`
    names the lock (cpu or gpu) whose packages the nodes' image lacks. Raises EnvironmentProblem when no dashboard
    answers at `address`, ConfigError while jobs of the run with other settings are under way, GenerationError when a
    job does not succeed.
    """
    client = connect(address)
    if not is_remote(run.place.url):
        run.console.say(f"root: {run.where} must be a folder that every node reaches under this path")
    under_way = [job for job in jobs_of(client, run, address) if job.status in UNDER_WAY]
    for job in under_way:
        if not str(job.submission_id).startswith(prefix(run, "")):
            raise ConfigError(
                f"{job.submission_id}: is under way with other settings of this run; wait for it, or stop it first: "
                f"memo stop {run.where} --address {address}"
            )
    run.remember_config()
    followed = [str(job.submission_id) for job in under_way if (job.metadata or {})["stage"] in stages]
    for name in followed:
        if not wait:
            run.console.say(f"{name}: is under way; `ray job logs -f {name} --address {address}` follows it")
            return name
        follow(client, name, address)
    last = followed[-1] if followed else ""
    with working_folder() as folder:
        for stage in stages:
            if passed(run, stage, wait=wait):
                run.console.say(f"{stage}: finished before")
                known = [job for job in jobs_of(client, run, address) if (job.metadata or {})["stage"] == stage]
                last = str(max(known, key=lambda job: job.start_time or 0).submission_id) if known else last
                continue
            packages = installing(folder, install, models=runs_models(run, stage)) if install else {}
            environment = {"working_dir": str(folder), "env_vars": passed_on(), **packages}
            last = begin(client, run, stage, environment, address)
            if not wait:
                run.console.say(f"{last}: submitted; `ray job logs -f {last} --address {address}` follows it")
                return last
            follow(client, last, address)
    return last


def stop(run: Workspace, address: str) -> list[str]:
    """Stop every job of the run that is under way, whatever its settings, and wait for their ends; returns their ids.

    What they have finished stays. Raises EnvironmentProblem for one that does not end.
    """
    client = connect(address)
    found = [str(job.submission_id) for job in jobs_of(client, run, address) if job.status in UNDER_WAY]
    for job in found:
        with reached(address):
            client.stop_job(job)
    end = time.monotonic() + STOP_S
    for job in found:
        while not status_of(client, job, address).is_terminal():
            if time.monotonic() > end:
                raise EnvironmentProblem(f"{job}: was told to stop and does not end; `ray job logs {job}` may say why")
            time.sleep(0.5)
    return found


def status_of(client: JobSubmissionClient, job: str, address: str) -> JobStatus:
    """What the cluster says of a job."""
    with reached(address):
        return client.get_job_status(job)


def jobs_of(client: JobSubmissionClient, run: Workspace, address: str) -> list[JobDetails]:
    """The jobs that were submitted for the run, with whatever settings."""
    with reached(address):
        found = client.list_jobs()
    return [job for job in found if job.submission_id and (job.metadata or {}).get("at") == run.place.url]


def passed(run: Workspace, stage: str, *, wait: bool) -> bool:
    """Whether the stage is finished, from documents that are as they were.

    Where this machine cannot read them a job looks; without `wait` that would be the same stage each time, and it
    passes with a line that says so.
    """
    if not stands(run, stage):
        return False
    try:
        return as_they_were(run, stage)
    except (MemoError, OSError, ModuleNotFoundError) as error:
        if not wait:
            run.console.say(
                f"{stage}: whether its files have changed cannot be seen here ({error}); taken as they were"
            )
        return not wait


def begin(client: JobSubmissionClient, run: Workspace, stage: str, environment: dict[str, Any], address: str) -> str:
    """Submit the stage with the next number, in the runtime `environment`; returns the job's id."""
    known = {job.submission_id for job in jobs_of(client, run, address)}
    number = 1
    while (name := f"{prefix(run, stage)}-{number}") in known:
        number += 1
    checked = ["--settings", settings_digest(run), "--made-for", made_for()]
    command = shlex.join(["python", "-m", "memo_ray.job", stage, run.place.url, *checked])
    end = time.monotonic() + AGENT_S
    while True:
        try:
            client.submit_job(
                entrypoint=command,
                submission_id=name,
                runtime_env=environment,
                metadata={"run": run.config.name, "stage": stage, "at": run.place.url},
            )
            break
        except (RuntimeError, OSError) as error:
            if "No available agent" not in str(error) or time.monotonic() > end:
                raise EnvironmentProblem(f"{name}: the cluster does not take the job ({str(error)[:200]})") from error
            time.sleep(1)
    run.console.say(f"{name}: submitted")
    return name


def prefix(run: Workspace, stage: str) -> str:
    """What the ids of a run's jobs begin with: other settings are other jobs."""
    settings = hashlib.sha256(f"{run.place.url}\n{run.config.model_dump_json()}".encode()).hexdigest()[:8]
    return f"memo-{run.config.name}-{settings}-{stage}"


def passed_on() -> dict[str, str]:
    """The part of this environment that jobs get."""
    return {key: os.environ[key] for key in PASSED_ON if key in os.environ}


def runs_models(run: Workspace, stage: str) -> bool:
    """Whether a stage needs PyTorch and an engine; of the corpus only groups that an encoder finds do."""
    return stage != "corpus" or any(corpus.discovered.encoder is not None for corpus in run.config.corpora)


def installing(folder: Path, target: str, *, models: bool) -> dict[str, Any]:
    """The runtime environment's part that installs a lock's packages, put into the working directory `folder`.

    Ray would send the packages' hashes, half a megabyte, in one environment variable, which Linux refuses; a file of
    the working directory it names only. A node keeps an environment by that name, so it holds the content's digest.
    """
    part = part_for(target, PACKAGE.parent, models=models)
    file = folder / "requirements" / f"{target}-{hashlib.sha256(part.encode()).hexdigest()[:16]}.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_text(part, encoding="utf-8")
    options = [*PIP_OPTIONS, TORCH_CPU] if "+cpu " in part else list(PIP_OPTIONS)
    packages = [f"-r ${{RAY_RUNTIME_ENV_CREATE_WORKING_DIR}}/{file.relative_to(folder)}"]
    return {
        "pip": {"packages": packages, "pip_check": False, "pip_install_options": options},
        "config": {"setup_timeout_seconds": INSTALL_S},
    }


@contextmanager
def working_folder() -> Iterator[Path]:
    """A small folder with the package, which Ray sends to the cluster."""
    with tempfile.TemporaryDirectory(prefix="memo-submit-") as name:
        folder = Path(name)
        shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        yield folder
