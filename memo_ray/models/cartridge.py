"""An executive with a cartridge: a model that answers over a trained KV cache in the place of a document.

No serving engine loads PEFT's `cartridge` adapters, so transformers generates, one reply at a time; this is for
comparison, not for serving.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memo_ray.errors import GenerationError
from memo_ray.models.chat import ChatReply, ChatRequest

FACTS = "cartridges.json"
"""Beside the adapters: what `training.cartridge.Trained` holds of each, by document."""


class CartridgeModel:
    """`base` with the cartridges of one or several documents; several are joined end to end."""

    def __init__(self, base: Path) -> None:
        self.name = base.name
        self._base = base
        self._parts: tuple[Any, Any] | None = None
        self._loaded: tuple[Path, ...] = ()
        self._model: Any = None
        self._busy = asyncio.Lock()

    async def chat(self, request: ChatRequest, adapters: Sequence[Path]) -> ChatReply:
        """The reply over the caches of `adapters`. Raises GenerationError for adapters that do not fit the model."""
        async with self._busy:
            try:
                return await asyncio.to_thread(self._reply, request, tuple(adapters))
            except (ValueError, KeyError, RuntimeError, OSError) as error:
                reason = " ".join(str(error).split())[:200]
                raise GenerationError(f"cartridge {adapters[0].name}: cannot be used ({reason})") from error

    async def close(self) -> None:
        """Let go of the weights."""
        self._parts = self._model = None

    def _reply(self, request: ChatRequest, adapters: tuple[Path, ...]) -> ChatReply:
        import torch

        tokenizer, model = self._load(adapters)
        encoded = tokenizer.apply_chat_template(
            list(request.messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
        ).to(model.device)
        sampling = {"do_sample": True, "temperature": request.temperature, "top_p": request.top_p}
        # The generator is the process's own, so the seed is set for this reply and put back.
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(request.seed or 0)
            made = model.generate(
                **encoded, max_new_tokens=request.max_tokens, pad_token_id=tokenizer.eos_token_id,
                **(sampling if request.temperature > 0 else {"do_sample": False}),
            )  # fmt: skip
        new = made[0, encoded["input_ids"].shape[1] :]
        ended = bool(len(new)) and int(new[-1]) == tokenizer.eos_token_id
        text = tokenizer.decode(new, skip_special_tokens=True).strip()
        read = int(encoded["input_ids"].shape[1])
        return ChatReply(text, "stop" if ended else "length", read, len(new))

    def _load(self, adapters: tuple[Path, ...]) -> tuple[Any, Any]:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        if self._parts is None:
            base: Any = AutoModelForCausalLM.from_pretrained(self._base, use_safetensors=True).eval()
            device = "cuda" if torch.cuda.is_available() else "cpu"
            self._parts = AutoTokenizer.from_pretrained(self._base), base.to(device)
        tokenizer, base = self._parts
        if adapters != self._loaded or self._model is None:
            if self._model is not None:
                base = self._model.unload() if hasattr(self._model, "unload") else self._model.get_base_model()
            with tempfile.TemporaryDirectory() as scratch:
                folder = adapters[0] if len(adapters) == 1 else joined(adapters, Path(scratch))
                self._model = PeftModel.from_pretrained(base, folder).eval()
            self._loaded = adapters
        return tokenizer, self._model


def joined(adapters: Sequence[Path], scratch: Path) -> Path:
    """A folder with the caches of `adapters`, one after the other."""
    from peft.tuners.cartridge.utils import compose_cartridge_adapters

    folder = scratch / "joined"
    compose_cartridge_adapters(list(adapters), output_path=folder)
    return folder


def folder_of(root: Path, document_id: str) -> Path:
    """Where a document's adapter lies below `root`: a document id may hold what a file's name cannot."""
    return root / hashlib.sha256(document_id.encode()).hexdigest()[:16]
