"""What Ray Serve is told of a deployment: its resources, replicas and limits, from the serving section."""

from __future__ import annotations

from typing import Any

from ray import serve
from ray.serve import Application, Deployment

from memo_ray.config.models import ModelConfig, OpenAIModel, VllmModel
from memo_ray.config.serving import ReplicaSettings, ServingConfig
from memo_ray.models.opening import Opener, open_model
from memo_ray.models.ray_engine import actor_resources
from memo_ray.serving.deployments import ModelDeployment
from memo_ray.serving.failures import RETRY_AFTER_S

ENGINE_CPUS = 0.75
"""Cores that Ray reserves for an engine on a CPU: its worker process binds its own threads anyway."""

LIGHT_CPUS = 0.1
"""Cores reserved for a deployment that only waits for others."""

MOST_SHARED = 0.5
"""An engine that takes at most this share of a GPU's memory shares the GPU."""

IN_ONE_LOOP = {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0", "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0"}
"""Environment of a replica that only waits for others: its own code, its calls and Serve's share one event loop. Serve
gives each a thread if left alone, and every call and reply would go from one to the other and back."""

STARTS = 2
"""How often a replica may fail to start before the deployment has failed."""


def model_deployment(
    name: str,
    config: ServingConfig,
    model: ModelConfig,
    replicas: ReplicaSettings,
    path: str | None,
    code: str | None = None,
    opener: Opener = open_model,
) -> Application:
    """The memory's or the executive's deployment. `code`: what Serve takes its code's version to be, so that deploying
    it again with another `path` alone swaps the weights in place; none: replicas are replaced then. `opener`: makes
    the model in each replica."""
    made = deployment(ModelDeployment, name, config, replicas, resources(model, config.accelerator))
    # A config file's applications have a version of their own; for others Serve has no public way to state one.
    same: dict[str, Any] = {"version": code, "_internal": True} if code else {}
    return made.options(user_config={"weights": path}, **same).bind(model, f"serving.{name}", opener)


def deployment(
    kind: type,
    name: str,
    config: ServingConfig,
    replicas: ReplicaSettings,
    reserved: dict[str, Any],
    *,
    logs_calls: bool = False,
) -> Deployment:
    """`kind` with Serve's options. `logs_calls`: a line in its log for every call."""
    options: dict[str, Any] = {
        "name": name,
        "ray_actor_options": reserved,
        "logging_config": {"enable_access_log": logs_calls},
        "max_ongoing_requests": replicas.max_ongoing_requests,
        "max_queued_requests": config.max_queued_requests,
        "backpressure_config": {"status_code": 429, "retry_after_s": RETRY_AFTER_S},
        "max_constructor_retry_count": STARTS,
        "graceful_shutdown_timeout_s": config.drain_timeout_s,
        "graceful_shutdown_wait_loop_s": 0.1,
        "health_check_period_s": 2,
        "health_check_timeout_s": 30,
    }
    if replicas.min_replicas == replicas.max_replicas:
        options["num_replicas"] = replicas.max_replicas
    else:
        bounds = {
            "min_replicas", "max_replicas", "target_ongoing_requests", "upscale_delay_s", "downscale_delay_s",
        }  # fmt: skip
        options["autoscaling_config"] = replicas.model_dump(include=bounds)
    return serve.deployment(**options)(kind)


def resources(model: ModelConfig, accelerator: str) -> dict[str, Any]:
    """What Ray reserves for one replica of `model`."""
    if isinstance(model, OpenAIModel):
        return {"num_cpus": LIGHT_CPUS}
    if accelerator == "gpu" or (accelerator == "auto" and actor_resources(model)["num_gpus"]):
        return {"num_cpus": 1, "num_gpus": gpus_of(model)}
    return {"num_cpus": ENGINE_CPUS, "num_gpus": 0}


def gpus_of(model: VllmModel) -> float:
    """GPUs reserved for an engine; the share that it takes of one, when it leaves room for another engine there."""
    share = model.gpu_memory_utilization
    return share if model.gpus == 1 and share <= MOST_SHARED else model.gpus
