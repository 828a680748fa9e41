"""A ChatModel on vLLM's asynchronous engine, on GPUs or, with the CPU build, on cores.

Works from vLLM 0.26 on. Imported only where vLLM is installed and about to start. Prompts are rendered with
the model's own chat template, so that a memory is asked exactly as it was trained.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Self

from memo_ray.config.models import VllmModel, Yarn
from memo_ray.errors import ConfigError, EngineDied, GenerationError, PromptRefused
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.models.gpu_turn import turn_on_gpu
from memo_ray.models.reasoning import ReasoningFilter, without_reasoning

ENVIRONMENT = {
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
}
"""What the engine's processes need; a variable that is already set is left alone."""


def on_cpu() -> bool:
    """Whether vLLM will run on the CPU: its CPU build is installed or the machine shows no GPU."""
    import torch

    return not torch.cuda.is_available()


class VllmChatModel:
    """One vLLM engine. Use `start`; `close` it, or its processes and shared memory outlive the caller."""

    def __init__(self, engine: Any, tokenizer: Any, config: VllmModel, name: str, max_model_len: int) -> None:
        self.name = name
        self._engine = engine
        self._open = True
        self._tokenizer = tokenizer
        self._config = config
        self._max_model_len = max_model_len
        self._cpu = on_cpu()
        self._serial = itertools.count()
        self._adapters: dict[str, int] = {}

    @classmethod
    async def start(cls, config: VllmModel, path: Path) -> Self:
        """Start an engine on the model folder `path`; tens of seconds.

        Raises ConfigError for engine arguments that vLLM refuses, GenerationError when the engine does not come up.
        """
        for key, value in ENVIRONMENT.items():
            os.environ.setdefault(key, value)
        from transformers import AutoTokenizer
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        tokenizer = AutoTokenizer.from_pretrained(str(path))
        try:
            engine_args = AsyncEngineArgs(**engine_arguments(config, path, cpu=on_cpu()))
        except TypeError as error:
            raise ConfigError(f"engine_args: {error}; see the arguments of this vLLM version") from None
        turn = nullcontext() if on_cpu() else turn_on_gpu(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        try:
            with turn:
                engine = AsyncLLM.from_engine_args(engine_args)
        except (ValueError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ConfigError(f"model {path}: vLLM refuses these settings ({reason})") from error
        except RuntimeError as error:
            raise GenerationError(
                f"model {path}: the vLLM engine did not start ({error}); see the log above"
            ) from error
        return cls(engine, tokenizer, config, path.name, engine.model_config.max_model_len)

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The whole reply. Raises PromptRefused for a prompt that does not fit, EngineDied for a dead engine."""
        final = None
        async for output in self._generate(request, final_only=True):
            final = output
        if final is None or not final.outputs:
            raise GenerationError(f"request {request.request_id}: the engine returned nothing")
        return reply_of(final, final.outputs[0].text, len(final.outputs[0].token_ids))

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The reply's text as it grows, each piece once; then the whole reply."""
        text, tokens, last = "", 0, None
        reply_text = ReasoningFilter()
        async for output in self._generate(request, final_only=False):
            if not output.outputs:
                continue
            last, piece = output, output.outputs[0].text
            text, tokens = text + piece, tokens + len(output.outputs[0].token_ids)
            shown = reply_text.feed(piece)
            if shown:
                yield shown
        if reply_text.rest():
            yield reply_text.rest()
        if last is None:
            raise GenerationError(f"request {request.request_id}: the engine returned nothing")
        yield reply_of(last, text, tokens)

    async def reload_weights(self, path: Path) -> None:
        """Load another checkpoint of the same architecture in place, and forget what the old one cached."""
        await self._engine.collective_rpc("reload_weights", kwargs={"weights_path": str(path)})
        await self._engine.reset_prefix_cache()
        self.name = path.name

    async def load_adapter(self, folder: str) -> None:
        """Load the LoRA adapter of a folder. Raises ConfigError for one that does not fit the engine."""
        try:
            await self._engine.add_lora(self._adapter(folder))
        except Exception as error:  # vLLM passes on whatever its worker raised, and the engine lives on
            reason = " ".join(str(error).split())[-300:]
            raise ConfigError(f"{folder}: vLLM cannot load this LoRA adapter ({reason})") from error

    async def unload_adapter(self, folder: str) -> None:
        """Forget an adapter; nothing happens when it is not loaded."""
        number = self._adapters.pop(folder, None)
        if number is not None:
            await self._engine.remove_lora(number)

    def _adapter(self, folder: str) -> Any:
        """vLLM's request for an adapter: a number of its own for each folder."""
        from vllm.lora.request import LoRARequest

        number = self._adapters.setdefault(folder, next(self._serial) + 1)
        return LoRARequest(folder, number, folder)

    async def close(self) -> None:
        """Stop the engine's processes; safe to call again."""
        if self._open:
            self._open = False
            self._engine.shutdown()
            # Its destructor shuts down once more, which at interpreter exit fails in vLLM's own imports.
            del self._engine

    async def check_health(self) -> None:
        """Raise EngineDied when the engine can no longer answer."""
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            await self._engine.check_health()
        except EngineDeadError as error:
            raise EngineDied(f"model {self.name}: the vLLM engine died") from error

    async def _generate(self, request: ChatRequest, *, final_only: bool) -> AsyncIterator[Any]:
        from vllm.v1.engine.exceptions import EngineDeadError

        tokens = self.prompt_tokens(request)
        room = self._max_model_len - len(tokens)
        if room < 1:
            raise PromptRefused(
                f"request {request.request_id}: its prompt has {len(tokens)} tokens, the model allows "
                f"{self._max_model_len}; shorten the chunks or raise max_model_len"
            )
        # The caller's id may come twice (a retry, two users asking the same); the engine wants it once.
        unique = f"{request.request_id}-{next(self._serial)}"
        sampling = self._sampling(request, min(request.max_tokens, room), final_only)
        try:
            adapter = self._adapter(request.adapter) if request.adapter else None
            async for output in self._engine.generate(
                {"prompt_token_ids": tokens}, sampling, unique, lora_request=adapter
            ):
                yield output
        except EngineDeadError as error:
            raise EngineDied(f"model {self.name}: the vLLM engine died; the log above says why") from error
        except ValueError as error:
            raise PromptRefused(f"request {request.request_id}: refused by vLLM ({error})") from error

    def prompt_tokens(self, request: ChatRequest) -> list[int]:
        """Token ids of the conversation in the model's chat template, ready for the reply.

        Raises PromptRefused when the template does not allow the conversation, as some allow no system message.
        """
        from jinja2 import TemplateError

        try:
            return list(
                self._tokenizer.apply_chat_template(
                    list(request.messages), tokenize=True, add_generation_prompt=True, return_dict=False
                )
            )
        except TemplateError as error:
            raise PromptRefused(
                f"request {request.request_id}: the chat template of {self.name} refuses it ({error})"
            ) from error

    def _sampling(self, request: ChatRequest, max_tokens: int, final_only: bool) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

        return SamplingParams(
            temperature=request.temperature,
            top_p=request.top_p,
            max_tokens=max_tokens,
            # vLLM's CPU sampler fails on a seeded generator and takes the whole engine down.
            seed=None if self._cpu else request.seed,
            stop=list(request.stop),
            structured_outputs=StructuredOutputsParams(json=request.schema) if request.schema else None,
            output_kind=RequestOutputKind.FINAL_ONLY if final_only else RequestOutputKind.DELTA,
        )


def reply_of(last: Any, text: str, output_tokens: int) -> ChatReply:
    """A reply from the engine's last output, with the `text` and the number of tokens of all of them."""
    return ChatReply(
        text=without_reasoning(text),
        finish_reason=str(last.outputs[0].finish_reason or ""),
        input_tokens=len(last.prompt_token_ids or ()),
        output_tokens=output_tokens,
        cached_tokens=int(last.num_cached_tokens or 0),
    )


def rope_overrides(yarn: Yarn, path: Path) -> dict[str, Any]:
    """What YaRN replaces in the model's config.json, as vLLM's `hf_overrides`.

    A mapping there is put in the place of the model's own, so `rope_theta` has to be repeated. vLLM 0.32 takes
    the length as already scaled, older ones scale the original one; with both given they agree.
    """
    known = json.loads((path / "config.json").read_text())
    theta = (known.get("rope_parameters") or {}).get("rope_theta", known.get("rope_theta", 10_000.0))
    return {
        "rope_parameters": {
            "rope_type": "yarn", "rope_theta": theta, "factor": yarn.factor,
            "original_max_position_embeddings": yarn.original,
        },
        "max_position_embeddings": int(yarn.factor * yarn.original),
    }  # fmt: skip


def engine_arguments(config: VllmModel, path: Path, *, cpu: bool) -> dict[str, Any]:
    """vLLM's AsyncEngineArgs for `config`; explicit `engine_args` win."""
    arguments: dict[str, Any] = {
        "model": str(path),
        "dtype": config.dtype,
        "max_num_seqs": config.max_num_seqs,
        "tensor_parallel_size": config.tensor_parallel_size,
        "data_parallel_size": config.data_parallel_size,
        "kv_cache_dtype": config.kv_cache_dtype,
        "enforce_eager": config.enforce_eager,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "trust_remote_code": False,
        "load_format": "safetensors",
        "use_tqdm_on_load": False,
        # A small model under a schema may emit white space until max_tokens; xgrammar can forbid it.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }
    if config.quantization is not None:
        arguments["quantization"] = config.quantization
    if config.yarn is not None:
        arguments["hf_overrides"] = rope_overrides(config.yarn, path)
        arguments["max_model_len"] = int(config.yarn.factor * config.yarn.original)
    if config.max_model_len is not None:
        arguments["max_model_len"] = config.max_model_len
    if cpu:
        arguments["kv_cache_memory_bytes"] = int(config.kv_cache_gb * 2**30)
    else:
        arguments["gpu_memory_utilization"] = config.gpu_memory_utilization
    return arguments | dict(config.engine_args)
