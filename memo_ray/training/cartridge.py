"""Cartridges: a trained KV cache that stands for a document, for comparison with memories (PEFT's `cartridge`).

The executive with the document in its context is the teacher; the same executive with a trainable cache in its
place is the student. The loss is the teacher's Kullback-Leibler divergence from the student over the tokens of
self-study answers, which are the reflections that the synthesis made of that document. A document of which it made
none is learned from its own text, by next-token prediction: what the Cartridges paper calls the naive way, and worse,
but the cache stands for the document. Weights stay frozen.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import CartridgeConfig, get_peft_model, initialize_kv_prefix_from_text
from torch.nn.functional import cross_entropy, kl_div, log_softmax
from transformers import AutoModelForCausalLM, AutoTokenizer

from memo_ray.config.cartridges import CartridgeTraining
from memo_ray.errors import TrainingError
from memo_ray.rows import LedgerEntry, Reflection

Pair = tuple[str, str]
"""A question and its answer."""
Lesson = TypeVar("Lesson")
PIECE_TOKENS = 512
"""Longest piece of a text that is learned from without pairs."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Facts of one cartridge.

    `truncated`: tokens of the document that the teacher did not read; `from_text`: learned from the document's text,
    for want of pairs, where nothing is truncated; `seconds`: wall.
    """

    document_tokens: int
    cache_tokens: int
    truncated: int
    losses: list[float]
    seconds: float
    from_text: bool


def pairs_by_document(reflections: Iterable[Reflection], ledger: Iterable[LedgerEntry]) -> dict[str, list[Pair]]:
    """The trained reflections of each document by its id; one of several documents belongs to each of them."""
    sources = {entry.reflection_id: entry.document_ids for entry in ledger}
    found: dict[str, list[Pair]] = {}
    for row in reflections:
        for document in sources.get(row.reflection_id, ()) if row.split == "train" else ():
            found.setdefault(document, []).append((row.question, row.answer))
    return found


def train_cartridge(
    base: Path,
    text: str,
    pairs: Sequence[Pair],
    settings: CartridgeTraining,
    folder: Path,
    on_step: Callable[[int, int, float], None] | None = None,
) -> Trained:
    """Train a cartridge of `text` on `pairs`, without any on the text, and save the adapter to `folder` (safetensors).

    Its first cached token stays frozen, as an attention sink; the cache begins as the document's own first tokens.
    Raises TrainingError for a document without text.
    """
    if not text.strip():
        raise TrainingError(f"cartridge {folder.name}: has no text to learn from")
    began = time.perf_counter()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokenizer = AutoTokenizer.from_pretrained(base)
    model: Any = AutoModelForCausalLM.from_pretrained(base, use_safetensors=True)
    model.to(device)
    ids = tokenizer(text)["input_ids"]
    kept = tokenizer.decode(ids[: settings.context_tokens], skip_special_tokens=True)
    reading = encode(tokenizer, [{"role": "system", "content": kept}])
    cache = min(settings.tokens, len(reading))
    config = CartridgeConfig(task_type="CAUSAL_LM", num_virtual_tokens=cache, num_frozen_tokens=1)
    student: Any = get_peft_model(model, config)
    initialize_kv_prefix_from_text(student, tokenizer, text=kept, num_virtual_tokens=cache)
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=0.0)
    lessons: list[Callable[[], torch.Tensor]]
    if pairs:
        lessons = [partial(divergence, student, tokenizer, kept, *pair) for pair in pairs]
    else:
        lessons = [partial(surprise, student, piece) for piece in pieces(ids)]
    losses = []
    batches = drawn(lessons, settings)
    for step, batch in enumerate(batches, start=1):
        optimiser.zero_grad()
        loss = torch.zeros((), device=device)
        for lesson, times in Counter(batch).items():  # few lessons come several times a batch, and alike
            loss = loss + lesson() * (times / len(batch))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
        if on_step:
            on_step(step, len(batches), losses[-1])
    folder.mkdir(parents=True, exist_ok=True)
    student.save_pretrained(folder)
    return Trained(
        document_tokens=len(ids),
        cache_tokens=cache,
        truncated=max(0, len(ids) - settings.context_tokens) if pairs else 0,
        losses=losses,
        seconds=round(time.perf_counter() - began, 3),
        from_text=not pairs,
    )


def drawn(lessons: Sequence[Lesson], settings: CartridgeTraining) -> list[list[Lesson]]:
    """`samples` lessons in batches: every one once before any comes again, in an order set by the seed."""
    order, rng = [], random.Random(settings.seed)
    while len(order) < settings.samples:
        order += rng.sample(list(lessons), len(lessons))
    order = order[: settings.samples]
    return [order[start : start + settings.batch_size] for start in range(0, len(order), settings.batch_size)]


def divergence(student: Any, tokenizer: Any, text: str, question: str, answer: str) -> torch.Tensor:
    """The teacher's divergence from the student, a mean over the answer's tokens."""
    asked = [{"role": "user", "content": question}]
    said = tokenizer(answer, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    with_text = encode(tokenizer, [{"role": "system", "content": text}, *asked], reply=True)
    alone = encode(tokenizer, asked, reply=True)
    with torch.no_grad(), student.disable_adapter():
        teacher = last_logits(student, with_text + said, len(said))
    wanted = log_softmax(teacher.float(), dim=-1)
    given = log_softmax(last_logits(student, alone + said, len(said)).float(), dim=-1)
    return kl_div(given, wanted, reduction="sum", log_target=True) / len(said)


def pieces(ids: list[int]) -> list[list[int]]:
    """Token ids in pieces of at most PIECE_TOKENS, each beginning with the last of the one before, so that every token
    but the first is foretold."""
    return [ids[start : start + PIECE_TOKENS] for start in range(0, max(1, len(ids) - 1), PIECE_TOKENS - 1)]


def surprise(student: Any, ids: list[int]) -> torch.Tensor:
    """The student's cross-entropy over `ids` but the first, a mean over tokens; 0 of a single one."""
    if len(ids) < 2:
        return 0.0 * torch.cat([weight.flatten() for weight in student.parameters() if weight.requires_grad]).sum()
    foretold = last_logits(student, ids, len(ids) - 1)
    return cross_entropy(foretold.float(), torch.tensor(ids[1:], device=foretold.device))


def last_logits(model: Any, ids: list[int], count: int) -> torch.Tensor:
    """What `model` foretells of the last `count` of `ids`, (count, vocabulary)."""
    tokens = torch.tensor([ids], device=model.device)
    logits = model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[0]
    return logits[-count - 1 : -1]


def encode(tokenizer: Any, messages: list[dict[str, str]], reply: bool = False) -> list[int]:
    """Token ids of messages in the model's chat template; with `reply`, up to where it answers."""
    return tokenizer.apply_chat_template(messages, tokenize=True, add_generation_prompt=reply, return_dict=False)
