"""What steps are given beside their rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.rows import Chunk
from memo_ray.synthesis.settings import SHORT_REPLY, Origin, StepSettings, numbered, picked
from tests.unit.synthesis.conftest import make_pair


def test_texts_are_the_chunk_or_its_sentences(chunk: Chunk, paper: StepSettings, tiny: StepSettings):
    assert paper.texts(replace(chunk, title="")) == [chunk.text]
    assert paper.texts(replace(chunk, title="The Vell Tower")) == [f"The Vell Tower\n\n{chunk.text}"]
    assert paper.texts(replace(chunk, title=chunk.text[:12])) == [chunk.text], "it opens with its title"
    assert len(tiny.texts(chunk)) == 3


def test_an_exact_prompt_is_asked_at_temperature_0(chunk: Chunk, paper: StepSettings):
    origin = Origin.of_chunk(chunk)
    sampled = paper.prompt("direct", "direct", {}, origin, values={"text": "x"})
    exact = paper.prompt("direct", "direct", {}, origin, values={"text": "x"}, exact=True, short=True)
    assert (sampled.temperature, sampled.top_p, sampled.max_tokens) == (1.1, 0.95, 32_768)
    assert (exact.temperature, exact.top_p, exact.max_tokens) == (0.0, 1.0, SHORT_REPLY["chunk"])


def test_pairs_are_shown_and_picked_by_number():
    pairs = (make_pair("Who?", "I"), make_pair("When?", "Now"))
    assert numbered(pairs) == "1. Q: Who? A: I\n2. Q: When? A: Now"
    assert picked([2, 2, 0, 3], pairs) == (pairs[1],)


def test_an_origin_names_every_chunk_once():
    pairs = (make_pair("Who?", "I", chunk_ids=("a", "b")), make_pair("When?", "Now", chunk_ids=("b",)))
    assert Origin.of_pairs(pairs, "g") == Origin(("a", "b"), ("d1",), "g")


def test_spans_need_the_sentence_set():
    with pytest.raises(ValueError, match="needs prompts: sentence"):
        SynthesisConfig(answers="spans")


def test_a_list_is_bounded_by_the_length_of_its_text(paper: StepSettings):
    assert paper.most("word " * 6) == 16
    assert paper.most("word " * 6400) == 2048
