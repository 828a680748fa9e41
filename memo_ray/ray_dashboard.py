"""A cluster's dashboard, from this machine: reached, or one line that says why not; a job of it followed to its end."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from memo_ray.errors import ConfigError, EnvironmentProblem, GenerationError
from memo_ray.job import BUSY

OVERRIDES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Variables that Ray's client would follow instead of the address that it is given."""

PATIENCE_S = 30.0
"""How long a dashboard that is followed may be out of reach, as while its port is forwarded anew."""


def connect(address: str) -> JobSubmissionClient:
    """A client of the dashboard at `address`. Raises ConfigError for no such address, EnvironmentProblem."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        good = False
    if not good:
        raise ConfigError(f"--address {address}: give the dashboard's address, as http://HOST:8265")
    kept = {key: os.environ.pop(key) for key in OVERRIDES if key in os.environ}
    try:
        with reached(address):
            client = JobSubmissionClient(address)
            client.list_jobs()  # the version that the constructor asks for is told without a token
    finally:
        os.environ.update(kept)
    return client


@contextmanager
def reached(address: str) -> Iterator[None]:
    """What goes wrong between this machine and the dashboard at `address`, as an EnvironmentProblem of one line."""
    try:
        yield
    except AuthenticationError as error:
        raise EnvironmentProblem(
            f"--address {address}: the cluster asks for its token and got none, or another; export RAY_AUTH_MODE=token "
            "and RAY_AUTH_TOKEN, or write the token into ~/.ray/auth_token"
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError) as error:  # the last two: something else answers there
        said = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise EnvironmentProblem(
            f"--address {address}: no Ray dashboard answers there ({said}); check the address, or "
            "forward its port (8265)"
        ) from error


def follow(client: JobSubmissionClient, job: str, address: str) -> None:
    """Print a job's log until it ends, also over a connection that breaks and comes back.

    Raises GenerationError unless it succeeded, EnvironmentProblem when the dashboard stays out of reach.
    """
    log, lost, ended = Log(), None, False
    while not ended:
        try:
            with reached(address):
                client.get_job_status(job)
            lost = None
            log.show(client, job)
            with reached(address):
                ended = client.get_job_status(job).is_terminal()
        except EnvironmentProblem as error:
            lost = lost or time.monotonic()
            if time.monotonic() - lost > PATIENCE_S:
                raise EnvironmentProblem(
                    f"{job}: its cluster is out of reach; unless that has ended the job goes on, and the same command "
                    f"follows it ({error})"
                ) from error
        if not ended:
            time.sleep(1)
    with reached(address):
        details = client.get_job_info(job)
    if details.status == JobStatus.SUCCEEDED:
        return
    if details.driver_exit_code == BUSY:
        raise GenerationError(f"{job}: another process is making this artefact; submit again when it has ended")
    said = " ".join((details.message or "").split())[-400:]
    reason = said if details.driver_exit_code is None else f"exit status {details.driver_exit_code}"
    raise GenerationError(
        f"{job}: {details.status.value.lower()} ({reason}); its log is above, the same command resumes"
    )


class Log:
    """What is printed of a job's log, whose stream begins anew with every connection."""

    def __init__(self) -> None:
        self.printed = 0

    def show(self, client: JobSubmissionClient, job: str) -> None:
        """Print what is new until the stream ends or breaks."""

        async def tail() -> None:
            at = 0
            async for lines in client.tail_job_logs(job):
                print(lines[max(0, self.printed - at) :], end="", flush=True)
                at += len(lines)
                self.printed = max(self.printed, at)

        # However it breaks, in the client or in its HTTP library: the job's status is what counts.
        with suppress(Exception):
            asyncio.run(tail())
