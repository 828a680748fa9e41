"""`memo submit`: a run's stages as Ray jobs on a cluster, one after another, each with an id that follows from the run.

In go a run and the address of a cluster's dashboard; the jobs' logs come out as they are written. Ids make it safe to
submit again: what runs is followed, what succeeded is passed over, what failed or was stopped gets its next number.
"""

from __future__ import annotations

import asyncio
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

from ray.job_submission import JobStatus, JobSubmissionClient

from memo_ray.artifacts.place import is_remote
from memo_ray.errors import ConfigError, EnvironmentProblem, GenerationError
from memo_ray.job import BUSY
from memo_ray.stage_packages import part_for
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

UNDER_WAY = {JobStatus.PENDING, JobStatus.RUNNING}


def submit(run: Workspace, stages: Sequence[str], address: str, *, wait: bool = True, install: str = "") -> str:
    """Run `stages` as jobs, in order, and print their logs; returns the id of the last one submitted.

    Without `wait` only the first stage that is not done yet is submitted: the next one needs its result. `install`
    names the lock (cpu or gpu) whose packages the nodes' image lacks. Raises EnvironmentProblem when no dashboard
    answers at `address`, GenerationError when a job does not succeed.
    """
    if not is_remote(run.place.url):
        run.console.say(f"root: {run.where} must be a folder that every node reaches under this path")
    run.remember_config()
    client = connect(address)
    last = ""
    with working_folder() as folder:
        for stage in stages:
            packages = installing(folder, install, models=runs_models(run, stage)) if install else {}
            last, status = begin(client, run, stage, {"working_dir": str(folder), "env_vars": passed_on(), **packages})
            if status == JobStatus.SUCCEEDED:
                run.console.say(f"{last}: succeeded before")
                continue
            if not wait:
                run.console.say(f"{last}: submitted; `ray job logs -f {last} --address {address}` follows it")
                return last
            follow(client, last)
    return last


def stop(run: Workspace, address: str) -> list[str]:
    """Stop every job of the run that is under way; returns their ids. What they have finished stays."""
    client = connect(address)
    found = [
        job.submission_id
        for job in client.list_jobs()
        if job.submission_id and job.submission_id.startswith(prefix(run, "")) and job.status in UNDER_WAY
    ]
    for job in found:
        client.stop_job(job)
    return found


def connect(address: str) -> JobSubmissionClient:
    """A client of the dashboard at `address`."""
    try:
        return JobSubmissionClient(address)
    except (ConnectionError, RuntimeError) as error:
        raise EnvironmentProblem(
            f"--address {address}: no Ray dashboard answers there ({str(error).splitlines()[0][:160]}); check the "
            "address, or forward its port (8265)"
        ) from error


def begin(
    client: JobSubmissionClient, run: Workspace, stage: str, environment: dict[str, Any]
) -> tuple[str, JobStatus]:
    """The stage's newest job and its status; a new one in `environment` unless that is under way or has succeeded."""
    known = {job.submission_id: job.status for job in client.list_jobs() if job.submission_id}
    number = 1
    while (name := f"{prefix(run, stage)}-{number}") in known:
        if known[name] in UNDER_WAY | {JobStatus.SUCCEEDED}:
            return name, known[name]
        number += 1
    command = shlex.join(["python", "-m", f"jobs.{stage}", run.place.url])
    end = time.monotonic() + AGENT_S
    while True:
        try:
            client.submit_job(
                entrypoint=command,
                submission_id=name,
                runtime_env=environment,
                metadata={"run": run.config.name, "stage": stage},
            )
            break
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > end:
                raise EnvironmentProblem(f"{name}: the cluster does not take the job ({str(error)[:200]})") from error
            time.sleep(1)
    run.console.say(f"{name}: submitted")
    return name, JobStatus.PENDING


def prefix(run: Workspace, stage: str) -> str:
    """What the ids of a run's jobs begin with: other settings are other jobs."""
    settings = hashlib.sha256(f"{run.place.url}\n{run.config.model_dump_json()}".encode()).hexdigest()[:8]
    return f"memo-{run.config.name}-{settings}-{stage}"


def follow(client: JobSubmissionClient, job: str) -> None:
    """Print a job's log until it ends. Raises GenerationError unless it succeeded."""

    async def tail() -> None:
        async for lines in client.tail_job_logs(job):
            print(lines, end="", flush=True)

    asyncio.run(tail())
    status, details = client.get_job_status(job), client.get_job_info(job)
    if status == JobStatus.SUCCEEDED:
        return
    if details.driver_exit_code == BUSY:
        raise GenerationError(f"{job}: another process is making this artefact; submit again when it has ended")
    said = " ".join((details.message or "").split())[-400:]
    reason = said if details.driver_exit_code is None else f"exit status {details.driver_exit_code}"
    raise GenerationError(f"{job}: {status.value.lower()} ({reason}); its log is above, the same command resumes")


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
    """A small folder with the package and the jobs' scripts, which Ray sends to the cluster."""
    scripts = PACKAGE.parent / "jobs"
    if not scripts.is_dir():
        raise ConfigError("jobs: the stages' scripts are not beside this package; run `memo submit` from a checkout")
    with tempfile.TemporaryDirectory(prefix="memo-submit-") as name:
        folder = Path(name)
        unwanted = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(PACKAGE, folder / PACKAGE.name, ignore=unwanted)
        shutil.copytree(scripts, folder / "jobs", ignore=unwanted)
        yield folder
