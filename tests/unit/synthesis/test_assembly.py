"""From results to tables."""

from __future__ import annotations

from typing import Any

import pytest

from memo_ray.config.synthesis import HeldOut, Quality, Unknown
from memo_ray.errors import GenerationError
from memo_ray.rows import Document
from memo_ray.synthesis.asking import StepCount
from memo_ray.synthesis.assembly import assemble, check_share, total_cost
from memo_ray.synthesis.pairs import Lost, Pair
from memo_ray.synthesis.recipe import UnitResult
from tests.unit.synthesis.conftest import config, make_chunk, make_pair


def result(*pairs: Pair, losses: tuple[Lost, ...] = (), **counts: Any) -> UnitResult:
    steps: dict[str, StepCount] = {}
    for pair in pairs:
        steps.setdefault(pair.step, StepCount()).made += 1
    for loss in losses:
        step = steps.setdefault(loss.step, StepCount())
        step.made += 1
        step.lost[loss.reason] += 1
    return UnitResult(list(pairs), list(losses), {name: step.to_json() for name, step in steps.items()}, counts)


def child_of(parent: Pair, question: str) -> Pair:
    return make_pair(
        question,
        parent.answer,
        step="rephrase",
        split="held_out",
        parents=(parent.reflection_id,),
        chunk_ids=parent.chunk_ids,
    )


PARENT = make_pair("Who built the wall?", "Rolf", chunk_ids=("a",))
OTHER = make_pair("Who lit the tower?", "Lena", chunk_ids=("b",))


def test_tables_agree_and_everything_made_is_kept_or_lost():
    twin = make_pair("Who built the wall?", "Rolf", chunk_ids=("b",))
    loss = Lost("direct", "ungrounded", "no", "p")
    tables = assemble(
        [result(PARENT, child_of(PARENT, "Which person built the wall?")), result(twin, OTHER, losses=(loss,))],
        config(),
    )
    reflections = list(tables.reflections)
    assert [row.reflection_id for row in reflections] == [row.reflection_id for row in tables.ledger]
    assert {(row.question, row.split) for row in reflections} == {
        ("Who built the wall?", "train"),
        ("Who lit the tower?", "train"),
        ("Which person built the wall?", "held_out"),
    }
    assert sorted(reject.reason for reject in tables.rejects) == ["duplicate", "ungrounded"]
    for count in tables.facts["by_step"].values():
        assert count["made"] == count["kept"] + sum(count["lost"].values())
    assert (tables.facts["train"], tables.facts["held_out"]) == (2, 1)


def test_under_a_cap_a_held_out_question_goes_with_its_pair():
    results = [
        result(PARENT, child_of(PARENT, "Which person built the wall?")),
        result(OTHER, child_of(OTHER, "By whom?")),
    ]
    tables = assemble(results, config(max_reflections=1))
    trained, held_out = tables.reflections
    assert (trained.split, held_out.split) == ("train", "held_out")
    assert trained.answer == held_out.answer
    assert [reject.reason for reject in tables.rejects] == ["over_cap", "over_cap"]


def test_a_question_that_is_trained_is_never_held_out():
    trained = make_pair("Which person built the wall?", "Rolf", chunk_ids=("a",))
    tables = assemble([result(PARENT, trained, child_of(PARENT, "Which person built the wall?"))], config())
    assert {row.split for row in tables.reflections} == {"train"}


def test_no_more_questions_are_held_out_than_asked_for():
    results = [result(PARENT, child_of(PARENT, "By whom?")), result(OTHER, child_of(OTHER, "By which person?"))]
    tables = assemble(results, config(held_out=HeldOut(max_questions=1)))
    assert tables.facts["held_out"] == 1


def failed(prompts: int, failures: int) -> UnitResult:
    count = StepCount(prompts=prompts, made=prompts - failures)
    count.failed["unparsed"] = failures
    losses = [Lost("direct", "unparsed", "not valid JSON", str(n)) for n in range(failures)]
    return UnitResult([], losses, {"direct": count.to_json()}, {"prompts": prompts, "output_tokens": 7})


def test_too_many_useless_replies_end_the_stage_with_reasons_and_an_example():
    check_share([failed(10, 5)], config(max_reject_share=0.5), "Steps 1 to 4")
    with pytest.raises(GenerationError, match=r"60% of 10 prompts .*6 unparsed.*for example: not valid JSON.*50%"):
        check_share([failed(10, 6)], config(max_reject_share=0.5), "Steps 1 to 4")


def test_a_pass_that_made_nothing_says_so():
    with pytest.raises(GenerationError, match="made no pair from 4 prompts"):
        check_share([failed(4, 4)], config(max_reject_share=1.0), "Steps 1 to 4")
    check_share([], config(), "Step 5")


def test_costs_add_up():
    assert total_cost([failed(2, 0), failed(3, 1)]) == {"prompts": 5, "output_tokens": 14}


def test_near_duplicates_across_chunks_are_lost_with_their_reason():
    near = make_pair("Who was it that built the old grey wall of Esk town?", "Rolf", chunk_ids=("a",))
    twin = make_pair("Who was it that built the old gray wall of Esk town?", "Rolf", step="entities", chunk_ids=("b",))
    plain = assemble([result(near), result(twin)], config())
    assert len(list(plain.reflections)) == 2
    thin = assemble([result(near), result(twin)], config(quality=Quality(near_duplicates=0.7)))
    assert [row.reflection_id for row in thin.reflections] == [near.reflection_id]
    assert thin.facts["by_step"]["entities"]["lost"] == {"near_duplicate": 1}
    assert [reject.reflection_id for reject in thin.rejects] == [twin.reflection_id]


def test_unknown_questions_are_trained_only_when_a_share_is_set():
    pairs = [
        make_pair(f"Which wall did {name} build?", "Esk", chunk_ids=(name,))
        for name in ("Rolf Anstick", "Nora Fenwith", "Imre Solt", "Lena Korb")
    ]
    assert "unknown" not in assemble([result(*pairs)], config()).facts["by_step"]
    tables = assemble([result(*pairs)], config(unknown=Unknown(share=0.2)), [make_chunk()])
    (asked,) = [row for row in tables.reflections if row.step == "unknown"]
    assert (asked.answer, asked.split) == ("I don't know.", "train")
    assert tables.facts["by_step"]["unknown"]["kept"] == 1 and tables.facts["train"] == 5


def test_the_ledger_says_where_a_pair_was_found_and_what_kind_it_is():
    chunk = make_chunk()
    pair = make_pair("Who founded the Solt Works?", "Imre Solt", chunk_ids=(chunk.chunk_id,), evidence=chunk.text)
    child = make_pair("Who founded what?", "Imre Solt", step="entities", kind="one_fact", parents=(pair.reflection_id,))
    documents = [Document("d1", "", chunk.text, "", "a.md", "CC0-1.0")]
    tables = assemble([result(pair, child)], config(), [chunk], documents)
    entries = {entry.reflection_id: entry for entry in tables.ledger}
    entry = entries[pair.reflection_id]
    assert chunk.text[entry.span_starts[0] : entry.span_ends[0]].startswith("The glassblower Imre Solt founded")
    assert entries[child.reflection_id].span_starts == entry.span_starts
    assert (entry.licence, entries[child.reflection_id].kind) == ("CC0-1.0", "one_fact")
    assert tables.facts["with_a_span"] == 2 and tables.facts["by_step"]["entities"]["kinds"] == {"one_fact": 1}
    assert tables.facts["gzip_ratio"] > 0 and tables.facts["left_without"] == {"direct": 0.0, "entities": 0.5}
