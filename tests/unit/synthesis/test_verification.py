"""Step 3."""

from __future__ import annotations

from memo_ray.rows import Chunk
from memo_ray.synthesis import verification
from memo_ray.synthesis.settings import StepSettings
from memo_ray.synthesis.wording import VIOLATIONS
from tests.unit.synthesis.conftest import make_pair

PAIRS = [make_pair("Who founded the Solt Works?", "Imre Solt"), make_pair("When did he found it?", "1902")]


def test_the_judge_sees_the_chunk_and_every_kind_of_violation_at_temperature_0(chunk: Chunk, paper: StepSettings):
    (prompt,) = verification.judging_prompts(PAIRS, chunk, paper)
    said = prompt.messages[-1]["content"]
    assert chunk.text in said and "2. Q: When did he found it? A: 1902" in said
    assert all(f"- {kind}:" in said for kind in VIOLATIONS)
    assert prompt.temperature == 0


def test_verdicts_are_by_number_and_unknown_numbers_are_passed_over(chunk: Chunk, paper: StepSettings):
    (prompt,) = verification.judging_prompts(PAIRS, chunk, paper)
    value = {
        "verdicts": [
            {"pair": 1, "violations": []},
            {"pair": 2, "violations": ["unresolved_pronoun", "unresolved_pronoun"]},
            {"pair": 3, "violations": ["vague_time"]},
        ]
    }
    assert verification.verdicts(prompt, value) == {
        PAIRS[0].reflection_id: [],
        PAIRS[1].reflection_id: ["unresolved_pronoun"],
    }


def test_rules_find_the_same_violation():
    found = verification.ruled(PAIRS)
    assert found[PAIRS[0].reflection_id] == []
    assert "unresolved_pronoun" in found[PAIRS[1].reflection_id]


def test_a_rewritten_pair_keeps_its_step_and_remembers_its_prompt(chunk: Chunk, paper: StepSettings):
    prompt = verification.rewriting_prompt(PAIRS[1], ["unresolved_pronoun"], chunk, paper, 0)
    assert VIOLATIONS["unresolved_pronoun"] in prompt.messages[-1]["content"]
    new = verification.rewritten(prompt, {"question": "When did Imre Solt found the Solt Works?", "answer": "1902"})
    assert (new.step, new.prompt_id, new.evidence) == ("direct", prompt.prompt_id, PAIRS[1].evidence)
    again = verification.rewriting_prompt(PAIRS[1], ["unresolved_pronoun"], chunk, paper, 1)
    assert again.prompt_id != prompt.prompt_id and again.temperature > 0


def test_the_sentence_set_rewrites_with_the_sentence_before(chunk: Chunk, tiny: StepSettings):
    sentences = tiny.texts(chunk)
    pair = make_pair("When was it founded?", "1902", evidence=sentences[1])
    prompt = verification.rewriting_prompt(pair, ["unresolved_pronoun"], chunk, tiny, 0)
    assert f"Text: {sentences[0]} {sentences[1]}\n" in prompt.messages[-1]["content"]
