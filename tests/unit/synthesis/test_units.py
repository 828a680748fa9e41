"""Rows that travel: units, candidates, results."""

from __future__ import annotations

import json

import pytest

from memo_ray.config.synthesis import HeldOut
from memo_ray.errors import GenerationError
from memo_ray.rows import Document
from memo_ray.synthesis.asking import StepCount
from memo_ray.synthesis.candidates import Candidate
from memo_ray.synthesis.pairs import Lost
from memo_ray.synthesis.recipe import UnitResult
from memo_ray.synthesis.units import (
    CANDIDATES_A_ROW,
    candidate_row,
    candidate_rows,
    gathered,
    identifiers_of,
    read_candidates,
    read_result,
    read_unit,
    unit_rows,
    write_result,
)
from tests.unit.synthesis.conftest import config, make_chunk, make_pair

DOCUMENTS = [
    Document("bell-law", "The Bell Law", "...", "", "docs/bell-law.md"),
    Document("d2", "Two", "...", "", "two.txt"),
]
CHUNKS = [
    make_chunk("One text here.", "bell-law"),
    make_chunk("Another text here.", "bell-law"),
    make_chunk("A third.", "d2"),
]


def test_a_unit_is_a_chunk_or_a_document():
    assert len(list(unit_rows(CHUNKS, DOCUMENTS, config()))) == 3
    by_document = list(unit_rows(CHUNKS, DOCUMENTS, config(entity_scope="document")))
    units = [read_unit(row["row_id"], row["payload"]) for row in by_document]
    assert [[source.chunk for source in unit.sources] for unit in units] == [CHUNKS[:2], CHUNKS[2:]]


def test_a_unit_knows_the_names_that_must_not_leak_and_its_share_of_the_whole():
    rows = list(unit_rows(CHUNKS, DOCUMENTS, config(held_out=HeldOut(share=0.5, max_questions=7), max_reflections=31)))
    unit = read_unit(rows[0]["row_id"], rows[0]["payload"])
    assert unit.sources[0].identifiers == ("bell-law", "docs/bell-law.md", "bell-law.md")
    assert (unit.held_out, unit.expected) == (3, 10)
    assert read_unit(rows[0]["row_id"], next(unit_rows(CHUNKS, DOCUMENTS, config()))["payload"]).expected is None


def test_row_ids_are_stable_and_distinct():
    ids = [row["row_id"] for row in unit_rows(CHUNKS, DOCUMENTS, config())]
    assert len(set(ids)) == 3 and ids == [row["row_id"] for row in unit_rows(CHUNKS, DOCUMENTS, config())]


def test_candidates_and_results_survive_their_journey():
    pairs = [make_pair("Who?", "I", document_ids=("bell-law",)), make_pair("When?", "Now", document_ids=("d2",))]
    candidate = Candidate("g", pairs[0], (pairs[1],))
    row = candidate_row([candidate], identifiers_of(DOCUMENTS))
    ((back, identifiers),) = read_candidates(row["payload"])
    assert back == candidate and {"bell-law.md", "two.txt"} <= set(identifiers)
    result = UnitResult(pairs, [Lost("direct", "empty", "nothing", "p")], {"direct": {"made": 2}}, {"prompts": 3})
    assert read_result(write_result(result)) == result
    assert json.loads(write_result(result))["cost"] == {"prompts": 3}


def test_candidates_share_rows_and_each_is_asked_once():
    pairs = [make_pair(f"Who is {n}?", "I", document_ids=("bell-law",)) for n in range(20)]
    candidates = [Candidate("g", pairs[0], (pair,)) for pair in pairs[1:]]
    rows = list(candidate_rows(iter([*candidates, candidates[3]]), identifiers_of(DOCUMENTS)))
    found = [[candidate for candidate, _ in read_candidates(row["payload"])] for row in rows]
    assert [len(some) for some in found] == [CANDIDATES_A_ROW, 19 - CANDIDATES_A_ROW]
    assert [candidate for some in found for candidate in some] == candidates
    assert len({row["row_id"] for row in rows}) == 2
    # The anchor, which all of them show, stands in a row once.
    assert rows[0]["payload"].count(json.dumps(pairs[0].question)) == 1


def test_a_text_that_many_pairs_share_travels_once():
    pairs = [make_pair(f"Who is {n}?", "I") for n in range(5)]
    text = write_result(UnitResult(pairs, [], {}, {}))
    assert text.count(json.dumps(pairs[0].evidence)) == 1
    back = read_result(text).pairs
    assert back == pairs and all(pair.evidence is back[0].evidence for pair in back)
    assert all(pair.chunk_ids is back[0].chunk_ids for pair in back)


def row(row_id: str, result: UnitResult | None = None, error: str = "") -> dict[str, str]:
    return {"row_id": row_id, "result": write_result(result) if result else "", "error": error}


def test_the_results_of_a_pass_are_one_in_the_order_of_its_rows():
    one, two = make_pair("Who?", "I"), make_pair("When?", "Now")
    loss = Lost("direct", "empty", "nothing", "p")
    first = UnitResult([one], [], {"direct": StepCount(prompts=1, made=1).to_json()}, {"prompts": 1})
    second = UnitResult([two], [loss], {"direct": StepCount(prompts=2, made=2).to_json()}, {"prompts": 3})
    rows = [row("b", second), row("other", first), row("a", first), row("b", second)]
    found = gathered(rows, ["a", "b"])
    assert (found.pairs, list(found.losses), found.cost, found.rows) == ([one, two], [loss], {"prompts": 4}, 2)
    assert (found.counts["direct"]["prompts"], found.counts["direct"]["made"]) == (3, 3)


def test_a_row_without_a_result_ends_the_pass_with_its_reason():
    done = UnitResult([], [], {}, {})
    with pytest.raises(GenerationError, match="the engine died"):
        gathered([row("a", done), row("b", error="the engine died")], ["a", "b"])
    with pytest.raises(GenerationError, match="1 rows came to nothing; run it again"):
        gathered([row("a", done)], ["a", "b"])
