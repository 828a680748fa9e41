"""Reflections to token ids: the bare question as the user's turn, the loss on the answer's tokens alone.

The prompt is exactly what a memory is asked with later: the tokenizer's own chat template, one user message and
the generation prompt. The answer ends with the template's end-of-turn token, which the memory must learn to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from memo_ray.errors import TrainingError
from memo_ray.rows import Reflection

TOKENIZED_AT_ONCE = 4096
ARRAYS = ("tokens", "starts", "prompts", "ids")


@dataclass(frozen=True, slots=True)
class Examples:
    """Tokenised reflections in flat arrays, so that a million of them cost a few bytes a token.

    `tokens`: int32, all examples end to end. `starts`: int64, n + 1 offsets into it. `prompts`: int32, how many
    tokens of each example are its prompt and carry no loss. `ids`: the reflections' own, or empty. `truncated`
    answers were cut at the longest length; `left_out` reflections had a question that leaves no room for an answer;
    the `longest` reflection takes so many tokens when nothing is cut.
    """

    tokens: np.ndarray
    starts: np.ndarray
    prompts: np.ndarray
    ids: np.ndarray = field(default_factory=lambda: np.empty(0, dtype="U1"))
    truncated: int = 0
    left_out: int = 0
    longest: int = 0

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of every example, prompt and answer."""
        return np.diff(self.starts)

    @property
    def answer_tokens(self) -> np.ndarray:
        """Tokens of every example that the loss is computed on."""
        return self.lengths - self.prompts

    def example(self, index: int) -> np.ndarray:
        """The token ids of one example."""
        return self.tokens[self.starts[index] : self.starts[index + 1]]

    def name(self, index: int) -> str:
        """What a message calls one example: its reflection's id, or its place."""
        return str(self.ids[index]) if len(self.ids) else f"number {index + 1}"

    def save(self, folder: Path) -> None:
        """Write the arrays to `folder`, for workers to map into memory."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> Examples:
        """The examples that `save` wrote; its counts of what was cut are not kept."""
        return cls(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS))


def encode(reflections: Sequence[Reflection], tokenizer: Any, max_length: int, ends: frozenset[int]) -> Examples:
    """The examples of `reflections`, in order, each of at most `max_length` tokens.

    `ends`: the ids at which generation stops. Raises TrainingError for a tokenizer without a chat template, for a
    template that asks otherwise than it trains, and when no answer fits.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise TrainingError("training.base: its tokenizer has no chat template; use an instruct model")
    pieces: list[np.ndarray] = []
    prompts: list[int] = []
    ids: list[str] = []
    truncated = 0
    shortest = longest = 0
    for start in range(0, len(reflections), TOKENIZED_AT_ONCE):
        some = reflections[start : start + TOKENIZED_AT_ONCE]
        for row, (prompt, answer) in zip(some, _encode_some(some, tokenizer, ends), strict=True):
            shortest = min(shortest or len(prompt), len(prompt))
            longest = max(longest, len(prompt) + len(answer))
            if len(prompt) >= max_length:
                continue
            truncated += len(prompt) + len(answer) > max_length
            pieces.append(np.asarray([*prompt, *answer][:max_length], dtype=np.int32))
            prompts.append(len(prompt))
            ids.append(row.reflection_id)
    if not reflections:
        raise TrainingError("training: there are no reflections to train on; look at the rejects of synthesis")
    if not pieces:
        raise TrainingError(
            f"training.max_sequence_length: no reflection's question leaves room for an answer in {max_length} tokens "
            f"(the shortest question takes {shortest}); raise it"
        )
    if truncated == len(pieces):
        raise TrainingError(
            f"training.max_sequence_length: every one of the {truncated} answers is cut at {max_length} tokens, so the "
            f"memory would never learn to end one; raise it (the longest reflection takes {longest})"
        )
    starts = np.concatenate([[0], np.cumsum([len(piece) for piece in pieces])]).astype(np.int64)
    return Examples(
        np.concatenate(pieces), starts, np.asarray(prompts, dtype=np.int32), np.asarray(ids), truncated,
        len(reflections) - len(pieces), longest,
    )  # fmt: skip


def end_tokens(base: Path, tokenizer: Any) -> frozenset[int]:
    """The ids at which generation with the model in `base` stops. Raises TrainingError when there are none."""
    from transformers import AutoConfig, GenerationConfig

    named: list[Any] = [tokenizer.eos_token_id, AutoConfig.from_pretrained(base).eos_token_id]
    if (base / "generation_config.json").is_file():
        named.append(GenerationConfig.from_pretrained(base).eos_token_id)
    ids = {int(one) for some in named if some is not None for one in (some if isinstance(some, list) else [some])}
    if not ids:
        raise TrainingError(
            f"training.base: {base}: has no end-of-sequence token, so a memory could never stop; "
            "set eos_token_id in its generation_config.json"
        )
    return frozenset(ids)


def _encode_some(
    reflections: Sequence[Reflection], tokenizer: Any, ends: frozenset[int]
) -> list[tuple[list[int], list[int]]]:
    """Token ids of each reflection's prompt, and of its answer up to the end of the turn."""
    asked = [[{"role": "user", "content": row.question}] for row in reflections]
    told = [
        [*turns, {"role": "assistant", "content": row.answer}] for turns, row in zip(asked, reflections, strict=True)
    ]
    prompts = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    wholes = tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=False)
    for prompt, whole in zip(prompts, wholes, strict=True):
        if not whole.startswith(prompt):
            raise TrainingError(
                "training.base: its chat template puts other text before an answer than it asks with, so the memory "
                "would be asked otherwise than it was trained; use a model whose template does not"
            )
    # Not verbose: what is too long for the model is cut, and told of, here.
    prompt_ids, whole_ids = (
        tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"] for texts in (prompts, wholes)
    )
    found = []
    for prompt, whole, start, ids in zip(prompts, wholes, prompt_ids, whole_ids, strict=True):
        # A tokenizer may merge the prompt's last letters with the answer's first; a memory that is asked cannot.
        same = ids[: len(start)] == start
        answer = ids[len(start) :] if same else tokenizer(whole[len(prompt) :], add_special_tokens=False)["input_ids"]
        found.append((start, _up_to_the_end(answer, tokenizer, ends)))
    return found


def _up_to_the_end(answer: list[int], tokenizer: Any, ends: frozenset[int]) -> list[int]:
    """`answer` with its end of turn last: what a template writes after it (often a line break) is never generated."""
    last = max((place for place, token in enumerate(answer) if token in ends), default=None)
    if last is not None:
        return answer[: last + 1]
    return [*answer, tokenizer.eos_token_id if tokenizer.eos_token_id is not None else min(ends)]
