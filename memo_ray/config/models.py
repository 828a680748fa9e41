"""Which model answers, and through what: our own vLLM engine or any OpenAI-compatible endpoint."""

from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from memo_ray.config.base import Endpoint, Settings


class Yarn(Settings):
    """RoPE scaling by YaRN, for prompts longer than a model was trained on (Qwen2.5: 32,768 to 131,072 tokens).

    It costs a little quality on short prompts, so leave it out unless chunks or Step-5 batches need it.
    """

    factor: float = Field(default=4.0, gt=1)
    """The new length over the old one."""
    original: int = Field(default=32_768, ge=64)
    """Tokens that the model handles without it."""


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
    """GPUs over which one engine splits every layer; needed when a GPU cannot hold the weights."""
    data_parallel_size: int = Field(default=1, ge=1)
    """Copies inside one engine, for mixture-of-experts models. Others: `replicas`, which survive each other."""
    yarn: Yarn | None = None
    quantization: Literal["fp8"] | None = None
    """`fp8`: weights and activations in 8 bits, made while loading; half the memory, and faster from Hopper on."""
    kv_cache_dtype: Literal["auto", "fp8"] = "auto"
    """`fp8`: twice as many tokens in the cache."""
    enforce_eager: bool = False
    """Skip compilation: a faster start and a slower engine."""
    replicas: int = Field(default=1, ge=1)
    """Engines that share the work, each with `tensor_parallel_size` times `data_parallel_size` GPUs."""
    engine_args: dict[str, JsonValue] = {}
    """Further vLLM engine arguments, passed on as they are."""

    @property
    def gpus(self) -> int:
        """GPUs that one engine takes."""
        return self.tensor_parallel_size * self.data_parallel_size

    @model_validator(mode="after")
    def length_is_in_reach(self) -> Self:
        """Refuse a length that YaRN as configured does not reach."""
        if self.yarn and self.max_model_len and self.max_model_len > self.yarn.factor * self.yarn.original:
            raise ValueError(
                f"max_model_len ({self.max_model_len}) is more than yarn.factor times yarn.original "
                f"({self.yarn.factor * self.yarn.original:.0f}); raise yarn.factor"
            )
        return self


class RateLimit(Settings):
    """What an endpoint allows; requests wait for their turn rather than be refused."""

    requests_per_minute: int | None = Field(default=None, ge=1)
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """Prompt and reply together."""


class Prices(Settings):
    """What a provider asks for a million tokens, as it states it."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    """Reasoning is output too."""
    cached_input: float | None = Field(default=None, ge=0)
    """Prompt tokens that the provider found in its cache; none: as dear as others."""
    batch_share: float = Field(default=0.5, gt=0, le=1)
    """What a request costs in a batch, as a share of the price."""
    currency: str = Field(default="USD", pattern=r"^[A-Z]{3}$")


class SpendingLimit(Settings):
    """Where to stop. What was paid for is kept: with a higher limit the same command goes on."""

    tokens: int | None = Field(default=None, ge=1)
    """Input and output tokens together."""
    money: float | None = Field(default=None, gt=0)
    """In the currency of `prices`."""


class Batches(Settings):
    """A provider's batch API: half the price, for replies within hours instead of seconds.

    Prompts are gathered until none has come for `gather_s`, so many chunks must be in flight: set
    `chunks_in_flight` to thousands.
    """

    max_requests: int = Field(default=50_000, ge=1)
    """Requests in one batch."""
    gather_s: float = Field(default=10.0, gt=0)
    poll_s: float = Field(default=30.0, gt=0)
    completion_window: str = Field(default="24h", pattern=r"^\d+h$")


class OpenAIModel(Settings):
    """An endpoint that speaks OpenAI's chat completions: a provider, vLLM, llama.cpp, Ollama, ..."""

    engine: Literal["openai"]
    base_url: Endpoint
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
    rate: RateLimit | None = None
    prices: Prices | None = None
    spending: SpendingLimit | None = None
    batch: Batches | None = None
    """Ask through the provider's batch API. Only for synthesis: nobody waits hours for an answer."""

    @model_validator(mode="after")
    def money_has_prices(self) -> Self:
        """Refuse a limit in money without the prices to count it by."""
        if self.spending and self.spending.money is not None and self.prices is None:
            raise ValueError("spending.money needs prices (input and output, for a million tokens)")
        return self


ModelConfig = Annotated[VllmModel | OpenAIModel, Field(discriminator="engine")]
