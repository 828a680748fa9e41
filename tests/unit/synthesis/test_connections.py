"""Step 5."""

from __future__ import annotations

from memo_ray.synthesis import connections
from memo_ray.synthesis.candidates import Candidate
from memo_ray.synthesis.settings import StepSettings
from tests.unit.synthesis.conftest import make_pair

ANCHOR = make_pair(
    "Who built the Vell Tower?",
    "Abel Thrane",
    evidence="The shipwright Abel Thrane built the Vell Tower.",
    chunk_ids=("a",),
)
SAME = make_pair(
    "Who paid the fine?",
    "Abel Thrane",
    evidence="Abel Thrane paid the fine of Varda.",
    chunk_ids=("b",),
    document_ids=("d2",),
)
OTHER = make_pair(
    "When was the Vell Tower lit?",
    "1809",
    evidence="The Vell Tower was lit in 1809.",
    chunk_ids=("b",),
    document_ids=("d2",),
)


def test_the_paper_shows_the_anchor_with_numbered_others(paper: StepSettings):
    (prompt,) = connections.prompts(Candidate("g", ANCHOR, (SAME, OTHER)), paper)
    said = prompt.messages[-1]["content"]
    assert "<anchor>\n1. Q: Who built the Vell Tower?" in said and "3. Q: When was the Vell Tower lit? A: 1809" in said
    value = {"pairs": [{"kind": "converging_clues", "question": "Who?", "answer": "Abel Thrane", "uses": [2]}]}
    (pair,) = connections.pairs(prompt, value)
    assert pair.parents == (ANCHOR.reflection_id, SAME.reflection_id)
    assert (pair.chunk_ids, pair.document_ids, pair.group_id) == (("a", "b"), ("d1", "d2"), "g")
    assert connections.unconnected(pair) == ""


def test_a_pair_that_uses_the_anchor_alone_connects_nothing(paper: StepSettings):
    (prompt,) = connections.prompts(Candidate("g", ANCHOR, (SAME,)), paper)
    value = {"pairs": [{"kind": "converging_clues", "question": "Who?", "answer": "Abel", "uses": [1]}]}
    (pair,) = connections.pairs(prompt, value)
    assert "one chunk" in connections.unconnected(pair)


def test_a_common_subject_is_described_by_both_sentences(tiny: StepSettings):
    (prompt,) = connections.prompts(Candidate("g", ANCHOR, (SAME,)), tiny)
    assert prompt.answer == "Abel Thrane"
    assert (
        "Statement 1: ____ built the Vell Tower.\nStatement 2: ____ paid the fine of Varda."
        in prompt.messages[-1]["content"]
    )


def test_other_pairs_are_joined(tiny: StepSettings):
    (prompt,) = connections.prompts(Candidate("g", ANCHOR, (OTHER,)), tiny)
    assert prompt.answer == "Abel Thrane and 1809"
    assert "Question 2: When was the Vell Tower lit?" in prompt.messages[-1]["content"]


def test_with_the_sentence_set_a_sentence_is_offered_once(tiny: StepSettings, paper: StepSettings):
    twice = make_pair(
        "Which shipwright built the Vell Tower?", "Abel Thrane", evidence=ANCHOR.evidence, chunk_ids=("a",)
    )
    assert connections.offered([ANCHOR, twice], tiny) == [ANCHOR]
    assert connections.offered([ANCHOR, twice], paper) == [ANCHOR, twice]
