"""Pairs, their ids and their rows."""

from __future__ import annotations

from dataclasses import fields

from memo_ray.rows import Reflection
from memo_ray.synthesis.pairs import REASONS, lost, pair_from, plain
from tests.unit.synthesis.conftest import make_pair


def test_the_same_pair_has_the_same_id_wherever_it_comes_from():
    here = make_pair("Who?", "I", chunk_ids=("a",), step="direct")
    there = make_pair("Who?", "I", chunk_ids=("b",), step="entities")
    assert here.reflection_id == there.reflection_id != make_pair("Who?", "You").reflection_id


def test_a_pair_survives_json():
    pair = make_pair("Who?", "I", parents=("x", "y"), group_id="g", split="held_out")
    assert pair_from(pair.to_json()) == pair


def test_the_reflection_says_nothing_of_where_it_came_from():
    pair = make_pair("Who?", "I", chunk_ids=("chunk-7",), document_ids=("doc-7",), group_id="g-7", prompt_id="p-7")
    row = pair.reflection()
    values = [str(getattr(row, field.name)) for field in fields(Reflection)]
    assert not any("-7" in value for value in values)
    entry = pair.ledger_entry("writer")
    assert (entry.chunk_ids, entry.document_ids, entry.group_id, entry.model) == (
        ["chunk-7"],
        ["doc-7"],
        "g-7",
        "writer",
    )


def test_a_loss_becomes_a_reject_with_its_words():
    reject = lost(make_pair("Who?", "I"), "duplicate", "asks the same").reject()
    assert (reject.stage, reject.step, reject.reason, reject.chunk_id) == ("synthesis", "direct", "duplicate", "c1")
    assert "Who?" in reject.reply and reject.reason in REASONS


def test_plain_compares_texts_without_marks():
    assert plain("Who built  the Wall?") == plain("who built the wall")
