"""Which model answers, and through what: our own vLLM engine or any OpenAI-compatible endpoint."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from memo_ray.config.base import Settings


class VllmModel(Settings):
    """A model that memo-ray runs itself, on the machine's GPUs or, with the CPU build, on its cores."""

    engine: Literal["vllm"]
    model: str = "embedded"
    """A Hugging Face id, a folder, or `embedded` (SmolLM2-135M-Instruct, for trying the platform)."""
    revision: str | None = None
    """A commit of the Hugging Face repository; none: the newest."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "bfloat16"
    max_model_len: int | None = Field(default=None, ge=64)
    """Longest prompt plus reply, in tokens; none: what the model allows."""
    max_num_seqs: int = Field(default=64, ge=1)
    """Requests that the engine works on at once."""
    kv_cache_gb: float = Field(default=1.0, gt=0)
    """KV cache of a CPU engine in GiB. On a GPU, `gpu_memory_utilization` counts instead."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    tensor_parallel_size: int = Field(default=1, ge=1)
    enforce_eager: bool = False
    """Skip compilation: a faster start and a slower engine."""
    replicas: int = Field(default=1, ge=1)
    """Engines that share the work, each with `tensor_parallel_size` GPUs."""
    engine_args: dict[str, JsonValue] = {}
    """Further vLLM engine arguments, passed on as they are."""


class OpenAIModel(Settings):
    """An endpoint that speaks OpenAI's chat completions: a provider, vLLM, llama.cpp, Ollama, ..."""

    engine: Literal["openai"]
    base_url: str = Field(pattern=r"^https?://[^@\s]+$")
    model: str
    api_key_env: str = ""
    """The environment variable that holds the key; empty: no key. The key itself is never stored."""
    concurrency: int = Field(default=16, ge=1)
    """Requests in flight at once."""
    timeout_s: float = Field(default=120, gt=0)
    max_retries: int = Field(default=5, ge=0)
    """Tries after the first, with backoff, for rate limits, time-outs and server errors."""
    structured_outputs: bool = True
    """The endpoint understands `response_format: json_schema`; else replies are parsed and repaired once."""


ModelConfig = Annotated[VllmModel | OpenAIModel, Field(discriminator="engine")]
