"""Reflections to token ids: the bare question as the user's turn, the loss on the answer's tokens alone.

The prompt is exactly what the memory is asked with later: the tokenizer's own chat template with one user
message and the generation prompt. The answer ends with the template's end-of-turn token, which the memory must
learn to say.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from memo_ray.errors import TrainingError
from memo_ray.rows import Reflection


@dataclass(frozen=True, slots=True)
class Example:
    """One reflection in tokens. `answer_start`: index of the answer's first token, up to which there is no loss."""

    tokens: tuple[int, ...]
    answer_start: int

    @property
    def answer_tokens(self) -> int:
        """How many tokens the loss is computed on."""
        return len(self.tokens) - self.answer_start


def encode(reflections: Iterable[Reflection], tokenizer: Any, max_length: int) -> tuple[list[Example], int]:
    """Examples in the order of `reflections`, and how many were truncated to `max_length` tokens.

    Raises TrainingError for a tokenizer without a chat template or an end token, and for a question so long
    that nothing of its answer fits.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise TrainingError("training.base: its tokenizer has no chat template; use an instruct model")
    examples, truncated = [], 0
    for row in reflections:
        prompt, answer = encode_pair(row.question, row.answer, tokenizer)
        if len(prompt) >= max_length:
            raise TrainingError(
                f"training.max_sequence_length: {max_length} tokens leave no room for the answer of reflection "
                f"{row.reflection_id}, whose question takes {len(prompt)}; raise it"
            )
        truncated += len(prompt) + len(answer) > max_length
        examples.append(Example((*prompt, *answer)[:max_length], len(prompt)))
    return examples, truncated


def encode_pair(question: str, answer: str, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Token ids of the prompt and of the answer with its end of turn."""
    asked = [{"role": "user", "content": question}]
    prompt = _template(tokenizer, asked, add_generation_prompt=True)
    whole = _template(tokenizer, [*asked, {"role": "assistant", "content": answer}], add_generation_prompt=False)
    if whole[: len(prompt)] != prompt:
        raise TrainingError(
            "training.base: its chat template puts other tokens before an answer than it asks with; "
            "a memory trained on it would be asked differently"
        )
    said = whole[len(prompt) :]
    ends = {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")} - {None}
    last = max((place for place, token in enumerate(said) if token in ends), default=None)
    # What a template writes after the end of turn (often a line break) is never generated.
    return prompt, said[: last + 1] if last is not None else [*said, tokenizer.eos_token_id]


def _template(tokenizer: Any, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> list[int]:
    return list(
        tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=add_generation_prompt, return_dict=False
        )
    )
