"""Opens whichever ChatModel a config names."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

from memo_ray.config.models import ModelConfig, OpenAIModel
from memo_ray.errors import ConfigError
from memo_ray.models.chat import ChatModel
from memo_ray.models.sources import ModelSource, resolve

Opener: TypeAlias = Callable[[ModelConfig, Path | None, Path | None], Awaitable[ChatModel]]
"""What `open_model` is: from settings, the folder of the weights and the file of the replies to a ready model."""


def source_of(config: ModelConfig, key: str) -> ModelSource | None:
    """The weights that `config` needs on this machine; None for an endpoint. `key` is named in errors."""
    return None if isinstance(config, OpenAIModel) else resolve(config.model, config.revision, f"{key}.model")


def key_of(config: ModelConfig) -> str:
    """The environment variable with a model's key; empty: it needs none."""
    return config.api_key_env if isinstance(config, OpenAIModel) else ""


def check_key(variable: str, key: str) -> None:
    """Raise ConfigError when the environment variable that the setting `key`.api_key_env names is not set."""
    if variable and not os.environ.get(variable):
        raise ConfigError(f"{key}.api_key_env: the environment variable {variable} is not set; export the key")


def identity(config: ModelConfig, source: ModelSource | None) -> str:
    """What a fingerprint holds of a model: its weights' digest, or the endpoint's model name."""
    if isinstance(config, OpenAIModel):
        return f"openai:{config.model}"
    if source is None:
        raise ConfigError("a vLLM model needs its weights resolved first")
    return source.digest


ENGINE_SEMANTIC = {
    *("engine", "dtype", "max_model_len", "engine_args", "yarn", "quantization", "kv_cache_dtype"),
    "structured_outputs",
}
"""A model's settings that can change a reply; the others say where and how fast it is asked."""


def engine_semantics(config: ModelConfig) -> dict[str, Any]:
    """What a fingerprint holds of a model beside its identity."""
    return config.model_dump(mode="json", include=ENGINE_SEMANTIC)


async def open_model(config: ModelConfig, path: Path | None, journal: Path | None = None) -> ChatModel:
    """A ready ChatModel: an engine started on the folder `path`, or a client of the configured endpoint.

    `journal`: a file in which an endpoint's replies are kept, so that none is paid for twice.
    """
    if isinstance(config, OpenAIModel) and config.batch is not None:
        from memo_ray.models.batches import BatchChatModel

        return BatchChatModel(config, journal)
    if isinstance(config, OpenAIModel):
        from memo_ray.models.openai import OpenAIChatModel

        return OpenAIChatModel(config, journal)
    if path is None:
        raise ConfigError("a vLLM model needs the folder of its weights")
    from memo_ray.models.vllm import VllmChatModel

    return await VllmChatModel.start(config, path)
