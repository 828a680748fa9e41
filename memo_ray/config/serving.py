"""The endpoints, the engines behind them, and the protocol they speak."""

from pydantic import Field

from memo_ray.config.base import Settings
from memo_ray.config.models import ModelConfig, VllmModel
from memo_ray.config.protocol import ProtocolConfig


class ReplicaSettings(Settings):
    """How many copies of a deployment run, and when Ray Serve adds one."""

    min_replicas: int = Field(default=1, ge=0)
    max_replicas: int = Field(default=1, ge=1)
    target_ongoing_requests: int = Field(default=32, ge=1)
    max_ongoing_requests: int = Field(default=64, ge=1)


class ServingConfig(Settings):
    """`memo serve`: a memory and an executive behind an OpenAI-compatible gateway."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    api_key_env: str = ""
    """Environment variable with the bearer key that clients must send; empty: no key asked."""
    executive: ModelConfig = VllmModel(engine="vllm")
    """Answers the user's question by asking the memory. A black box: text in, text out."""
    memory: VllmModel = VllmModel(engine="vllm")
    """Engine settings for the memory; its `model` is replaced by the run's memory."""
    protocol: ProtocolConfig = ProtocolConfig()
    memory_replicas: ReplicaSettings = ReplicaSettings()
    executive_replicas: ReplicaSettings = ReplicaSettings()
    max_queued_requests: int = Field(default=256, ge=1)
    """Questions that wait for a free place before the gateway answers 503."""
    request_timeout_s: float = Field(default=600, gt=0)
