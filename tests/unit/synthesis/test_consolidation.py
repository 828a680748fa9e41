"""Step 2."""

from __future__ import annotations

import pytest

from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.rows import Chunk
from memo_ray.synthesis import consolidation
from memo_ray.synthesis.checks import as_asked
from memo_ray.synthesis.settings import StepSettings
from tests.unit.synthesis.conftest import make_pair

PAIRS = [
    make_pair("Who built the Vell Tower?", "Rolf Anstick", evidence="Rolf Anstick built the Vell Tower."),
    make_pair("When was the Vell Tower lit?", "1809", evidence="The Vell Tower was lit in 1809."),
    make_pair("Who painted the Pask School?", "Lena Korb", evidence="Lena Korb painted the Pask School."),
]


def test_fewer_pairs_than_the_paper_asks_for_are_left_alone(chunk: Chunk, paper: StepSettings):
    assert consolidation.prompts(PAIRS[:2], chunk, paper) == []


def test_a_chunk_shows_its_pairs_by_number_and_the_reply_says_which_it_used(chunk: Chunk, paper: StepSettings):
    (prompt,) = consolidation.prompts(PAIRS, chunk, paper)
    assert "2. Q: When was the Vell Tower lit? A: 1809" in prompt.messages[-1]["content"]
    reply = {
        "pairs": [
            {"question": "Who built it and when?", "answer": "Rolf, 1809", "kind": "entity", "uses": [1, 2]},
            {"question": "Only one?", "answer": "Yes", "kind": "relation", "uses": [3]},
            {"question": "A number never shown?", "answer": "Yes", "kind": "relation", "uses": [1, 9]},
        ]
    }
    pair, *others = consolidation.pairs(prompt, reply)
    assert pair.parents == (PAIRS[0].reflection_id, PAIRS[1].reflection_id)
    assert pair.kind == "entity" and as_asked(pair, prompt) is None
    losses = [as_asked(other, prompt) for other in others]
    assert [loss.reason for loss in losses if loss] == ["not_merged", "not_merged"]


def test_the_sentence_set_joins_two_questions_about_one_name(chunk: Chunk, tiny: StepSettings):
    (prompt,) = consolidation.prompts(PAIRS, chunk, tiny)
    assert prompt.items == (PAIRS[0], PAIRS[1])
    assert prompt.answer == "Rolf Anstick and 1809"
    (pair,) = consolidation.pairs(prompt, {"question": "Who built the Vell Tower, and when was it lit?"})
    assert pair.answer == "Rolf Anstick and 1809" and len(pair.parents) == 2


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ("Who built the Vell Tower, and when was the Vell Tower lit?", ""),
        ("Who built the Vell Tower, and when was it lit?", ""),
        ("Who built the Vell Tower, and when was the tower?", "lit"),
        ("Who built the lit Vell Tower?", "one thing only"),
    ],
)
def test_a_joint_question_asks_both(question: str, why: str):
    found = consolidation.half_asked(make_pair(question, "Rolf Anstick and 1809"), (PAIRS[0], PAIRS[1]))
    assert (why in found) if why else not found


def test_the_prompt_and_the_schema_name_the_papers_kinds_of_commonality(chunk: Chunk, paper: StepSettings):
    (prompt,) = consolidation.prompts(PAIRS, chunk, paper)
    said = prompt.messages[-1]["content"]
    assert all(f"- {kind}: {meaning}" in said for kind, meaning in consolidation.COMMONALITIES.items())
    kinds = prompt.schema["properties"]["pairs"]["items"]["properties"]["kind"]["enum"]
    assert kinds == ["entity", "time_period", "relation", "event_sequence"]


def test_all_raw_pairs_of_a_chunk_stand_in_one_prompt_unless_a_batch_is_asked_for(chunk: Chunk):
    pairs = [make_pair(f"Who built wall {number}?", "Rolf") for number in range(150)]
    (prompt,) = consolidation.prompts(pairs, chunk, StepSettings.load(SynthesisConfig()))
    assert prompt.items == tuple(pairs)
    batches = consolidation.prompts(pairs, chunk, StepSettings.load(SynthesisConfig(consolidation_batch=60)))
    assert [len(batch.items) for batch in batches] == [60, 60, 30]
