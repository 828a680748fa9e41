"""What a Ray cluster has, or what its autoscaler may bring it to: a cluster that was scaled to nothing has no GPU yet.

Ray's open-source autoscalers tell nobody how far they may go, so the cluster's own files (cluster/) say it on every
node, in a variable.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import ray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memo_ray.errors import EnvironmentProblem

VARIABLE = "MEMO_AUTOSCALES_TO"
"""The environment variable with `AutoscalesTo` as JSON; a cluster of fixed size has none."""

Amount = Annotated[float, Field(ge=0)]


class AutoscalesTo(BaseModel):
    """The most that the autoscaler may bring: cores and GPUs of all nodes, and the memory of the largest one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    CPU: Amount = 0
    GPU: Amount = 0
    node_memory: Amount = 0
    """Bytes that Ray offers on the largest node."""


def autoscales_to() -> AutoscalesTo:
    """What this node was told. Raises EnvironmentProblem when it cannot be read."""
    try:
        return AutoscalesTo.model_validate_json(os.environ.get(VARIABLE) or "{}")
    except ValidationError as error:
        example = '{"CPU": 64, "GPU": 8, "node_memory": 120e9}'
        raise EnvironmentProblem(
            f"{VARIABLE}: {error.errors()[0]['msg']}; write it on the cluster's nodes as {example}, or unset it"
        ) from error


def largest_cluster() -> dict[str, float]:
    """The cluster's resources, or those that its autoscaler may bring it to."""
    from ray._private.state import state  # what Ray Train itself asks; there is no public way

    told = autoscales_to().model_dump(include={"CPU", "GPU"})
    limits: dict[str, Any] = state.get_max_resources_from_cluster_config() or {}
    known = (ray.cluster_resources(), limits, told)
    return {kind: max(float(one.get(kind, 0)) for one in known) for kind in {key for one in known for key in one}}


def largest_node_memory() -> float:
    """Bytes of memory that Ray offers on the largest node there is, or that the autoscaler may bring."""
    alive = (float(node["Resources"].get("memory", 0)) for node in ray.nodes() if node["Alive"])
    return max([autoscales_to().node_memory, *alive])
