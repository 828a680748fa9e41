"""Tokens and labels with a real tokenizer and its chat template."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memo_ray.errors import TrainingError
from memo_ray.rows import Reflection
from memo_ray.training.examples import Examples, encode, end_tokens

ROWS = [
    Reflection("a", "Who charted the coast?", "The surveyor did, in 1791.", "direct", "train"),
    Reflection("b", "Who kept the lighthouse?", "The harbour master's daughter.", "direct", "train"),
]


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def ends(tiny_model: Path, tokenizer: Any) -> frozenset[int]:
    return end_tokens(tiny_model, tokenizer)


def asked(tokenizer: Any, question: str) -> list[int]:
    """What the memory is asked with: the bare question, through the chat template."""
    turns = [{"role": "user", "content": question}]
    return tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)


def test_the_prompt_is_exactly_what_the_memory_is_asked_with(tokenizer: Any, ends: frozenset[int]) -> None:
    examples = encode(ROWS, tokenizer, 512, ends)
    for number, row in enumerate(ROWS):
        tokens, prompt = examples.example(number).tolist(), int(examples.prompts[number])
        assert tokens[:prompt] == asked(tokenizer, row.question)
        assert tokenizer.decode(tokens[prompt:]) == row.answer + "<|im_end|>"
    assert (examples.truncated, examples.left_out) == (0, 0)


def test_the_loss_is_on_the_answer_and_its_end_of_turn(tokenizer: Any, ends: frozenset[int]) -> None:
    examples = encode(ROWS[:1], tokenizer, 512, ends)
    answer = tokenizer(ROWS[0].answer, add_special_tokens=False)["input_ids"]
    assert examples.answer_tokens.tolist() == [len(answer) + 1]
    assert examples.example(0)[-1] == tokenizer.convert_tokens_to_ids("<|im_end|>")


def test_the_embedded_model_stops_and_is_asked_the_same_way(embedded_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(embedded_model)
    examples = encode(ROWS, tokenizer, 512, end_tokens(embedded_model, tokenizer))
    prompt = int(examples.prompts[0])
    assert examples.example(0)[:prompt].tolist() == asked(tokenizer, ROWS[0].question)
    assert tokenizer.decode(examples.example(0)[prompt:]) == ROWS[0].answer + "<|im_end|>"


def test_nothing_but_question_and_answer_is_trained_on(tokenizer: Any, ends: frozenset[int]) -> None:
    named = dataclasses.replace(ROWS[0], reflection_id="harbour-master.md", step="indirect")
    one, other = encode(ROWS[:1], tokenizer, 512, ends), encode([named], tokenizer, 512, ends)
    np.testing.assert_array_equal(one.tokens, other.tokens)


def test_truncation_is_counted_and_a_question_without_room_is_left_out(tokenizer: Any, ends: frozenset[int]) -> None:
    length = int(encode(ROWS[:1], tokenizer, 512, ends).lengths[0])
    long_question = Reflection("c", "Who? " * 200, "Nobody.", "direct", "train")
    short = Reflection("e", "Who?", "He did.", "direct", "train")
    examples = encode([*ROWS[:1], long_question, short], tokenizer, length - 2, ends)
    assert examples.lengths[0] == length - 2
    assert (len(examples), examples.truncated, examples.left_out) == (2, 1, 1)
    assert examples.longest == int(encode([long_question], tokenizer, 8000, ends).lengths[0])
    assert [examples.name(n) for n in range(2)] == ["a", "e"]


def test_what_is_cut_is_told_by_the_stage_alone(
    tiny_model: Path, ends: frozenset[int], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    fresh = AutoTokenizer.from_pretrained(tiny_model)  # it warns of the first text that is too long, once
    row = Reflection("c", "Who kept it?", "The surveyor " * 2000, "direct", "train")
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    assert encode([*ROWS, row], fresh, 512, ends).truncated == 1
    assert not caplog.messages


def test_data_that_is_cut_everywhere_is_an_error(tokenizer: Any, ends: frozenset[int]) -> None:
    length = int(encode(ROWS, tokenizer, 512, ends).lengths.min())
    longest = int(encode(ROWS, tokenizer, 512, ends).lengths.max())
    told = rf"every one of the 2 answers is cut at {length - 1} tokens.*raise it .*takes {longest}\)"
    with pytest.raises(TrainingError, match=told):
        encode(ROWS, tokenizer, length - 1, ends)


def test_no_data_is_an_error(tokenizer: Any, ends: frozenset[int]) -> None:
    with pytest.raises(TrainingError, match="no reflections to train on; look at the rejects"):
        encode([], tokenizer, 512, ends)


def test_no_room_for_any_answer_is_an_error(tokenizer: Any, ends: frozenset[int]) -> None:
    with pytest.raises(
        TrainingError,
        match=r"training\.max_sequence_length: .*in 8 tokens \(the shortest question takes \d+\); raise it",
    ):
        encode(ROWS, tokenizer, 8, ends)


def test_a_tokenizer_without_a_chat_template_is_refused(tiny_model: Path, ends: frozenset[int]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = None
    with pytest.raises(TrainingError, match="no chat template; use an instruct model"):
        encode(ROWS, tokenizer, 512, ends)


def test_a_template_that_asks_otherwise_than_it_trains_is_refused(tiny_model: Path, ends: frozenset[int]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = "{% if add_generation_prompt %}Q: {% endif %}{{ messages[0]['content'] }}"
    with pytest.raises(TrainingError, match="asked otherwise than it was trained"):
        encode(ROWS, tokenizer, 512, ends)


def test_a_template_without_an_end_gets_one(tiny_model: Path, ends: frozenset[int]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    assert encode(ROWS[:1], tokenizer, 512, ends).example(0)[-1] == tokenizer.eos_token_id


def test_letters_merged_across_the_prompt_are_kept_apart(tiny_model: Path, ends: frozenset[int]) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    # The tiny tokenizer knows "the" as one token, so a prompt that ends in "t" would be merged with "he".
    tokenizer.chat_template = (
        "{{ messages[0]['content'] }} t{% if messages | length > 1 %}{{ messages[1]['content'] }}<|im_end|>{% endif %}"
    )
    row = Reflection("d", "Who?", "he", "direct", "train")
    prompt = asked(tokenizer, row.question)
    whole = tokenizer("Who? the<|im_end|>", add_special_tokens=False)["input_ids"]
    assert whole[: len(prompt)] != prompt, "this tokenizer no longer merges them; choose other letters"
    example = encode([row], tokenizer, 512, ends).example(0).tolist()
    assert example[: len(prompt)] == prompt
    assert tokenizer.decode(example[len(prompt) :]) == "he<|im_end|>"


def test_examples_come_back_from_disk(tokenizer: Any, ends: frozenset[int], tmp_path: Path) -> None:
    examples = encode(ROWS, tokenizer, 512, ends)
    examples.save(tmp_path)
    again = Examples.load(tmp_path)
    assert [again.example(n).tolist() for n in range(2)] == [examples.example(n).tolist() for n in range(2)]
    assert again.answer_tokens.tolist() == examples.answer_tokens.tolist()
    assert [again.name(n) for n in range(2)] == ["a", "b"]
