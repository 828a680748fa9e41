"""What Serve's controller says of applications and deployments: their states, and why one could not start."""

from __future__ import annotations

import re

from ray import serve
from ray.serve.schema import DeploymentStatusOverview

from memo_ray import errors
from memo_ray.errors import GenerationError, MemoError

APPLICATION = "memo"
"""Serve's name of the application that the gateway belongs to."""

MEMO_ERROR = re.compile(r"^memo_ray\.errors\.(\w+): ", re.MULTILINE)


def deployment_states(name: str) -> dict[str, str]:
    """The state of each of an application's deployments, as Serve's controller sees it; STARTING: none is up yet."""
    application = serve.status().applications.get(name)
    if application is None:
        return {"application": "NOT_FOUND"}
    return {name: state_of(deployment) for name, deployment in application.deployments.items()}


def state_of(deployment: DeploymentStatusOverview) -> str:
    """Serve's word for the deployment's state, but STARTING while no replica of it can answer yet."""
    # Serve's keys are members of an enumeration in the controller and plain text once they have travelled.
    states = {getattr(state, "value", state): count for state, count in deployment.replica_states.items()}
    up = states.get("RUNNING", 0) + states.get("UPDATING", 0)
    return "STARTING" if deployment.status.value == "UPDATING" and not up else deployment.status.value


def reason_of(messages: list[str]) -> MemoError:
    """The error that made a replica fail, found in Serve's status messages."""
    for message in messages:
        if found := list(MEMO_ERROR.finditer(message)):
            # The last one: a traceback ends with the error that was raised.
            kind = getattr(errors, found[-1].group(1), GenerationError)
            return kind(" ".join(message[found[-1].end() :].split()))
    told = [last_line(message) for message in messages if message.strip()]
    return GenerationError(f"serving: a deployment did not start ({told[-1] if told else 'no reason given'})")


def last_line(text: str) -> str:
    """The last line that says something; of a traceback that is the error."""
    return next((line.strip()[:300] for line in reversed(text.splitlines()) if line.strip()), "")
