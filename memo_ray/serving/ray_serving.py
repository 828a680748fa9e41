"""Puts a memory, an executive and the protocol on Ray Serve behind the gateway, and takes them down again.

`deploy` is what `memo serve` calls; `app` is the same for a Serve config file (serve_configs/*.yaml). On a CPU
the two engines reserve 0.75 cores each, protocol, ledger and gateway 0.1, clients of endpoints 0.1, Serve's own
processes none: 1.8 of the 2 cores of the smallest machine.
"""

from __future__ import annotations

import json
import logging
import socket
import time
from typing import Any, Self

import ray
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.exceptions import RayError
from ray.serve import Application
from ray.serve.api import RunTarget
from ray.serve.exceptions import RayServeException

from memo_ray.citations.files import LedgerFiles
from memo_ray.config.serving import ServingConfig
from memo_ray.errors import EnvironmentProblem, GenerationError
from memo_ray.serving.application import build_app
from memo_ray.serving.client import healthy
from memo_ray.serving.rpc.service import ADD_SERVICE
from memo_ray.serving.status import APPLICATION, last_line, reason_of

logger = logging.getLogger(__name__)

LOOK_S = 0.5
"""Seconds between looks of Serve's controller at its replicas. It looks each 0.1 s if left alone, which takes half of a
core all the time."""

TELL_S = 10.0
"""Seconds for a replica to hear that it is to stop."""


class AppArguments(BaseModel):
    """`args` of a Serve config file. A folder must be readable on every node; none: the model of the settings."""

    model_config = ConfigDict(extra="forbid")

    serving: ServingConfig = ServingConfig()
    memory: str | None = None
    executive: str | None = None
    run: str = ""
    """Folder or URL of the run whose registry has `serving.memories`; every node must reach it."""
    ledgers: tuple[LedgerFiles, ...] = ()
    """Tables of the corpora that `memory` was trained on, for citations and retrieval."""


def app(args: dict[str, Any]) -> Application:
    """The application of a Serve config file: `import_path: memo_ray.serving.ray_serving:app`.

    `args` are AppArguments. Serve makes the model of an annotation itself, but not of one that is a string, as all are
    in this module.
    """
    # As JSON, in which the settings' tuples are lists as they are in YAML.
    given = AppArguments.model_validate_json(json.dumps(args))
    return build_app(given.serving, given.memory, given.executive, given.ledgers, given.run)


class ServedRun:
    """A running deployment. `url` is the gateway's, without /v1. `close` it; it is also a context manager."""

    def __init__(self, url: str, config: ServingConfig) -> None:
        self.url = url
        self._config = config

    def close(self) -> None:
        """Let requests in hand finish for up to `drain_timeout_s`, then end every replica, engine and Serve itself.

        Safe to call again. Ray stays up.
        """
        if not ray.is_initialized():
            return
        try:
            applications = serve.status().applications
            application = applications.get(APPLICATION)
            if application is not None and application.status == "RUNNING":
                tell("gateway", "drain", self._config.drain_timeout_s)
                # A call under way would keep its engine from ending by itself, and Serve would kill it.
                for name, running in applications.items():
                    for model in {"memory", "executive"} & set(running.deployments):
                        tell(model, "stop", application=name)
        finally:
            serve.shutdown()
        end = time.monotonic() + self._config.drain_timeout_s + 60
        while serve.status().proxies and time.monotonic() < end:
            time.sleep(0.2)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def tell(name: str, method: str, *arguments: float, application: str = APPLICATION) -> None:
    """Call `method` on every replica of the deployment `name`, with `arguments` in seconds.

    A replica that is gone needs no telling, and one that hangs is Serve's to kill; both are only logged.
    """
    try:
        told = serve.get_deployment_handle(name, application).broadcast(method, *arguments)
        told.results(timeout_s=sum(arguments) + TELL_S)
    except (RayError, RayServeException, TimeoutError) as error:
        logger.warning("%s could not be told to %s: %s", name, method, last_line(str(error)))


def deploy(
    config: ServingConfig,
    memory_path: str | None,
    executive_path: str | None,
    *,
    ledgers: tuple[LedgerFiles, ...] = (),
    run: str = "",
    wait_s: float = 900,
) -> ServedRun:
    """Start Serve on `config.host` and `port` of an initialised Ray and wait until every deployment is healthy.

    The arguments are those of `build_app`.

    Raises ConfigError for wrong settings, EnvironmentProblem when the port is in use, Serve runs already, or
    the cluster has no room within `wait_s` seconds, and GenerationError when a model does not start. Nothing is
    left running then.
    """
    application = build_app(config, memory_path, executive_path, ledgers, run)
    claim_port(config.host, config.port)
    if config.grpc_port is not None:
        claim_port("0.0.0.0", config.grpc_port, "grpc_port")
    if serve.status().proxies:
        raise EnvironmentProblem(
            "Ray Serve already runs on this cluster; end it with `serve shutdown`, or add this application to it "
            "with `serve deploy` (docs/serving.md)"
        )
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    served = ServedRun(url_of(config.host, config.port), config)
    try:
        start(config, application)
        wait_until_healthy(served.url, time.monotonic() + wait_s, wait_s)
    except BaseException:
        served.close()
        raise
    return served


def start(config: ServingConfig, application: Application) -> None:
    """Start Serve's controller and proxy, and ask for the application's replicas."""
    try:
        grpc = {"port": config.grpc_port, "grpc_servicer_functions": [ADD_SERVICE]} if config.grpc_port else None
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": config.host, "port": config.port},
            grpc_options=grpc,
            controller_options={"runtime_env": {"env_vars": {"RAY_SERVE_CONTROL_LOOP_INTERVAL_S": str(LOOK_S)}}},
        )
        target = RunTarget(target=application, name=APPLICATION, route_prefix="/")
        serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
    except (RayError, TimeoutError) as error:
        raise EnvironmentProblem(
            f"serving.port: Serve's proxy did not start on {config.host}:{config.port} ({last_line(str(error))})"
        ) from error


def wait_until_healthy(url: str, end: float, wait_s: float) -> None:
    """Return once the application runs and the gateway answers. Raises as `deploy` does."""
    while time.monotonic() < end:
        status = serve.status().applications.get(APPLICATION)
        if status is not None and status.status == "DEPLOY_FAILED":
            raise reason_of([status.message, *(d.message for d in status.deployments.values())])
        if status is not None and status.status == "RUNNING" and healthy(url):
            return
        if status is not None and status.status == "RUNNING" and "memories" in status.deployments:
            check_memories()
        time.sleep(0.2)
    status = serve.status().applications.get(APPLICATION)
    late = {} if status is None else {n: d for n, d in status.deployments.items() if d.status != "HEALTHY"}
    told = "; ".join(f"{name}: {' '.join(d.message.split())[:300] or d.status.value}" for name, d in late.items())
    raise EnvironmentProblem(
        f"serving: not ready within {wait_s:g} s ({told or 'the gateway does not answer'}); the cluster may lack "
        "room: compare `ray status` with the replicas and accelerator of the settings"
    )


def check_memories() -> None:
    """Raise GenerationError for a registered memory that could not be loaded and has no version in its place."""
    rows: list[dict[str, Any]] = serve.get_deployment_handle("memories", APPLICATION).table.remote().result()  # type: ignore[assignment]
    for row in rows:
        if row["error"] and row["serves"] is None:
            raise GenerationError(f"serving.memories: {row['error']}")


def claim_port(host: str, port: int, key: str = "port") -> None:
    """Raise EnvironmentProblem unless this machine can listen there. Serve's own sockets share a port silently. `key`:
    of the serving section."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            raise EnvironmentProblem(
                f"serving.{key}: cannot listen on {host}:{port} ({error.strerror}); stop what uses it, or set another "
                f"serving.{key}{' (memo serve --port)' if key == 'port' else ''}"
            ) from None


def url_of(host: str, port: int) -> str:
    """Where a client on this machine reaches the gateway."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
