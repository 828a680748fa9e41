"""Steps 1a and 1b."""

from __future__ import annotations

from memo_ray.config.synthesis import Sampling, SynthesisConfig
from memo_ray.rows import Chunk
from memo_ray.synthesis import extraction
from memo_ray.synthesis.settings import StepSettings
from tests.unit.synthesis.conftest import config


def test_the_paper_shows_the_whole_chunk_and_reads_many_pairs(chunk: Chunk, paper: StepSettings):
    (prompt,) = extraction.prompts("direct", chunk, paper)
    assert chunk.text in prompt.messages[-1]["content"]
    assert (prompt.temperature, prompt.top_p, prompt.max_tokens) == (1.1, 0.95, 32_768)
    reply = {"pairs": [{"question": "Who?", "answer": "Imre"}, {"question": "When?", "answer": " 1902\n"}]}
    pairs = extraction.pairs(prompt, reply)
    assert [(pair.question, pair.answer) for pair in pairs] == [("Who?", "Imre"), ("When?", "1902")]
    assert {(pair.step, pair.chunk_ids, pair.document_ids) for pair in pairs} == {
        ("direct", (chunk.chunk_id,), (chunk.document_id,))
    }


def test_direct_and_indirect_ask_differently(chunk: Chunk, paper: StepSettings):
    asked = {step: extraction.prompts(step, chunk, paper)[0].messages[-1]["content"] for step in ("direct", "indirect")}
    assert asked["direct"] != asked["indirect"]


def test_samples_are_told_apart(chunk: Chunk):
    settings = StepSettings.load(SynthesisConfig(samples=3))
    prompts = extraction.prompts("direct", chunk, settings)
    assert len({prompt.prompt_id for prompt in prompts}) == 3


def test_one_sentence_a_prompt(chunk: Chunk):
    settings = StepSettings.load(config(answers="generated", sampling=Sampling(max_tokens=90)))
    prompts = extraction.prompts("direct", chunk, settings)
    assert [prompt.evidence for prompt in prompts] == settings.texts(chunk)
    (pair,) = extraction.pairs(prompts[0], {"question": "Who?", "answer": "Imre"})
    assert pair.evidence == prompts[0].evidence


def test_spans_ask_for_every_answer_with_a_fixed_opening(chunk: Chunk, tiny: StepSettings):
    prompts = extraction.prompts("direct", chunk, tiny)
    asked = {(prompt.answer, prompt.messages[-1]["content"]) for prompt in prompts}
    statement = "The glassblower Imre Solt founded the Solt Works in the town of Varda."
    assert ("1902", f"Statement: {statement}\nAsk: When did") in asked
    assert all(prompt.answer not in prompt.statement for prompt in prompts)
    when = next(prompt for prompt in prompts if prompt.answer == "1902")
    (pair,) = extraction.pairs(when, {"question": "When did Imre Solt found the Solt Works?"})
    assert (pair.answer, pair.evidence) == ("1902", chunk.text.split(". ")[0] + ".")


def test_indirect_spans_ask_what_a_name_is_called_in_passing(chunk: Chunk, tiny: StepSettings):
    prompts = extraction.prompts("indirect", chunk, tiny)
    assert {prompt.answer for prompt in prompts} == {"glassblower", "painter"} - {
        prompt.answer for prompt in prompts if "What kind" in str(prompt.schema)
    } | {prompt.answer for prompt in prompts}
    assert all(prompt.statement for prompt in prompts)
