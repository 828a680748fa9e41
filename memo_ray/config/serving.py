"""The endpoints, the engines behind them, and the protocol they speak."""

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from memo_ray.config.base import Settings
from memo_ray.config.models import ModelConfig, VllmModel
from memo_ray.config.protocol import ProtocolConfig, Routing

REFERENCE = r"[a-z0-9][a-z0-9_-]{0,60}(@[1-9]\d{0,8})?"
"""A memory as NAME or NAME@VERSION."""


class ReplicaSettings(Settings):
    """How many copies of a deployment run, and when Ray Serve adds one. Equal numbers: no autoscaling."""

    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int = Field(default=1, ge=1)
    target_ongoing_requests: int = Field(default=32, ge=1)
    """Requests in work per replica at which Serve adds another one."""
    max_ongoing_requests: int = Field(default=64, ge=1)
    """Requests in work per replica above which further ones wait."""
    upscale_delay_s: float = Field(default=30, ge=0)
    """For so long there must be more than the replicas' work before one is added."""
    downscale_delay_s: float = Field(default=600, ge=0)
    """For so long there must be less before one goes: its engine takes a while to start again."""

    @model_validator(mode="after")
    def bounds_are_ordered(self) -> Self:
        """Refuse bounds of the autoscaler that cross."""
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas ({self.min_replicas}) must not exceed max_replicas ({self.max_replicas})")
        autoscaled = self.min_replicas < self.max_replicas
        if autoscaled and self.target_ongoing_requests > self.max_ongoing_requests:
            raise ValueError(
                f"target_ongoing_requests ({self.target_ongoing_requests}) must not exceed "
                f"max_ongoing_requests ({self.max_ongoing_requests}), or no replica is ever added"
            )
        return self


class ServingConfig(Settings):
    """`memo serve`: a memory and an executive behind an OpenAI-compatible gateway."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    grpc_port: int | None = Field(default=None, ge=1, le=65535)
    """Port of the native call over gRPC; none: not offered. Serve listens there on every interface and without TLS."""
    api_key_env: str = ""
    """Environment variable with a bearer key that may ask everything; empty, and no `keys_file`: no key asked."""
    keys_file: str = ""
    """YAML file of further keys, hashed, with scopes and rates (`memo key NAME` writes an entry)."""
    executive: ModelConfig = VllmModel(engine="vllm")
    """Answers the user's question by asking the memory. A black box: text in, text out."""
    memory: ModelConfig = VllmModel(engine="vllm")
    """Engine settings for the memory; its `model` is replaced by the run's memory. An endpoint that already
    serves the memory may stand here instead."""
    memories: tuple[str, ...] = ()
    """Registered memories to serve, as NAME (always its newest version) or NAME@VERSION; the first one is the model
    `memo` and `memory` too. Empty: the memory that evaluation chose, alone."""
    routing: Routing | None = None
    """Whom the model `memo` asks where several memories are served: for each sub-question the likeliest of them, or all
    of them, of which the best supported answer counts. None: the first one."""
    swap: Literal["beside", "in_place"] = "beside"
    """How a newer version takes over: in an engine of its own beside the old one, or, where there is no room for two,
    in the old one's engine, while questions wait."""
    registry_poll_s: float = Field(default=5.0, gt=0)
    """Seconds between looks into the registry for newer and withdrawn versions."""
    protocol: ProtocolConfig = ProtocolConfig()
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """What the vLLM engines run on; `auto`: GPUs when the cluster has one at the start. A cluster that scales
    up from no GPU needs `gpu`."""
    memory_replicas: ReplicaSettings = ReplicaSettings()
    """Of each memory, or of each base whose LoRA memories share an engine. `min_replicas: 0`: an engine without
    questions gives its place back, and the next question waits for it to start."""
    executive_replicas: ReplicaSettings = ReplicaSettings()
    protocol_replicas: ReplicaSettings = ReplicaSettings()
    """Questions in work at once. One replica only waits for models, so one is mostly enough."""
    expose_executive: bool = False
    """Also offer the executive alone, as the model `executive`."""
    citation_embedder: str = ""
    """A Hugging Face id or folder whose pooled hidden states compare questions when answers are matched to
    reflections, beside the words they share; empty: words alone."""
    max_queued_requests: int = Field(default=256, ge=1)
    """Questions that wait for a free place before the gateway answers 429."""
    max_request_kb: int = Field(default=256, ge=1)
    """Largest request body in KiB; a larger one is answered 413."""
    request_timeout_s: float = Field(default=600, gt=0)
    """Seconds for a whole answer; then the gateway answers 504 and the models stop working on it."""
    drain_timeout_s: float = Field(default=20, gt=0)
    """Seconds that a stopping replica has for the requests in its hands."""

    @model_validator(mode="after")
    def memories_are_named_once(self) -> Self:
        """Refuse names that the registry cannot hold, a memory named twice, and routing between fewer than two."""
        for memory in self.memories:
            if not re.fullmatch(REFERENCE, memory):
                raise ValueError(f"memories: {memory!r}: write NAME or NAME@VERSION, for example law@2")
        if len(set(self.memories)) < len(self.memories):
            raise ValueError("memories: a memory stands twice; each is served once")
        if self.memories and not isinstance(self.memory, VllmModel):
            raise ValueError("memories: need `memory: {engine: vllm}`, whose weights they replace")
        if self.routing and len({memory.partition("@")[0] for memory in self.memories}) < 2:
            raise ValueError(f"routing: {self.routing} needs two or more memories; name them in `memories`")
        return self
