"""The application that Ray Serve runs: which deployments, bound to each other, with what resources and limits."""

from __future__ import annotations

import os
from pathlib import Path

from ray.serve import Application

from memo_ray.citations.files import LedgerFiles
from memo_ray.config.models import OpenAIModel
from memo_ray.config.serving import ReplicaSettings, ServingConfig
from memo_ray.errors import ConfigError
from memo_ray.models.opening import Opener, open_model
from memo_ray.serving.deployments import GatewayDeployment
from memo_ray.serving.gateway import GatewaySettings
from memo_ray.serving.keys import Key, digest_of, read_keys
from memo_ray.serving.ledger import LedgerDeployment
from memo_ray.serving.memories import MemoriesDeployment
from memo_ray.serving.options import IN_ONE_LOOP, LIGHT_CPUS, deployment, model_deployment
from memo_ray.serving.questions import ProtocolDeployment
from memo_ray.serving.replies import Defaults


def build_app(
    config: ServingConfig,
    memory_path: str | None,
    executive_path: str | None,
    ledgers: tuple[LedgerFiles, ...] = (),
    run: str = "",
    opener: Opener = open_model,
) -> Application:
    """The deployments, bound to each other. A path is the folder of a vLLM model's weights; none: the model that
    the config names, found by the replica itself. Without `ledgers`, answers come without citations of documents.

    With `serving.memories` there is no deployment `memory` here but one that starts those of the registry of `run`, a
    run's folder or URL. `opener` makes the models; benchmarks put stubs there. Raises ConfigError when `api_key_env`
    names a variable that is not set, and for options that lack what they need.
    """
    if config.protocol.hybrid is not None and not (ledgers or config.memories):
        raise ConfigError("serving.protocol.hybrid: needs the corpus's chunks; serve a run, or name its `ledgers`")
    if config.protocol.memories or config.protocol.routing:
        raise ConfigError("serving.protocol.memories, routing: name them as serving.memories and serving.routing")
    if config.memories and not run:
        raise ConfigError("serving.memories: needs the run whose registry names them; give its folder or URL as `run`")
    light = {"num_cpus": LIGHT_CPUS}
    waiting = light | {"runtime_env": {"env_vars": IN_ONE_LOOP}}
    executive = model_deployment(
        "executive", config, config.executive, config.executive_replicas, executive_path, opener=opener
    )
    memory = memories = ledger = None
    if config.memories:
        # One replica: it alone starts and ends engines. Every question calls it twice, for microseconds.
        one = ReplicaSettings(max_ongoing_requests=places_of(config))
        memories = deployment(MemoriesDeployment, "memories", config, one, light).options(
            user_config={"memories": list(config.memories)}, max_queued_requests=places_of(config)
        )
        memories = memories.bind(config, run)
    else:
        memory = model_deployment("memory", config, config.memory, config.memory_replicas, memory_path, opener=opener)
    if ledgers and memory is not None:
        ledger = deployment(LedgerDeployment, "ledger", config, ReplicaSettings(), light).bind(
            ledgers, config.protocol.hybrid, config.citation_embedder
        )
    schema_enforced = not isinstance(config.executive, OpenAIModel) or config.executive.structured_outputs
    protocol = deployment(ProtocolDeployment, "protocol", config, config.protocol_replicas, waiting).bind(
        executive, memory, config.protocol, schema_enforced, ledger, config.routing
    )
    alone = {"memory": memory} if memory is not None else {}
    alone |= {"executive": executive} if config.expose_executive else {}
    offered = ("memo", "memory", "executive") if config.expose_executive else ("memo", "memory")
    gateway = deployment(
        GatewayDeployment,
        "gateway",
        config,
        ReplicaSettings(max_ongoing_requests=places_of(config)),
        waiting,
        logs_calls=True,
    ).options(max_queued_requests=places_of(config))
    return gateway.bind(alone, protocol, gateway_settings(config, offered), memories, ledger)


def places_of(config: ServingConfig) -> int:
    """More requests than all others have places and seats in the queue for, so that a refusal is the gateway's own, in
    OpenAI's shape, and not Serve's."""
    memories = [config.memory_replicas] * max(1, len(config.memories))
    replicas = (*memories, config.executive_replicas, config.protocol_replicas)
    return sum(r.max_ongoing_requests * r.max_replicas for r in replicas) + 4 * config.max_queued_requests


def gateway_settings(config: ServingConfig, models: tuple[str, ...]) -> GatewaySettings:
    """What the gateway allows. Raises ConfigError when the key's variable is not set or the keys file is not right."""
    key = os.environ.get(config.api_key_env, "").strip() if config.api_key_env else ""
    if config.api_key_env and not key:
        raise ConfigError(
            f"serving.api_key_env: the environment variable {config.api_key_env} is not set; export the key that "
            "clients must send"
        )
    keys = [Key(name="default", sha256=digest_of(key), admin=True, documents=True)] if key else []
    if config.keys_file:
        keys += read_keys(Path(config.keys_file))
    return GatewaySettings(
        keys=tuple(keys),
        models=models,
        defaults=Defaults(
            max_tokens={
                "memory": config.protocol.memory_max_tokens,
                "executive": config.protocol.executive_max_tokens,
            },
            temperatures={"memory": 0.0, "executive": 1.0},
        ),
        max_request_bytes=config.max_request_kb * 1024,
        timeout_s=config.request_timeout_s,
        routed=config.routing is not None,
    )
