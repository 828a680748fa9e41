from __future__ import annotations

import asyncio
from pathlib import Path

from memo_ray.config.comparison import Reader
from memo_ray.errors import GenerationError
from memo_ray.evaluation.systems.batch import Pace
from memo_ray.evaluation.systems.context import ContextSystem, Evidence, Nothing
from memo_ray.evaluation.systems.running import Ran, folder_name, run_system
from memo_ray.evaluation.systems.system import Corpus, Cost, Query
from tests.unit.evaluation.systems.conftest import QUERIES, Echo


def run(
    model: Echo, corpus: Corpus, folder: Path, queries: list[Query] = QUERIES, source: Nothing | None = None
) -> Ran:
    system = ContextSystem("s", source or Nothing(), model, Reader(), Pace(timeout_s=1))
    return asyncio.run(run_system(system, corpus, queries, (0, 1), folder))


def test_every_question_under_every_seed_in_order(corpus: Corpus, tmp_path: Path) -> None:
    ran = run(Echo(), corpus, tmp_path)
    assert {seed: [row.question_id for row in rows] for seed, rows in ran.answers.items()} == {
        seed: ["q1", "q2", "q3"] for seed in (0, 1)
    }
    assert ran.prepared is not None and not any(ran.failed.values()) and ran.problem == ""


def test_a_run_goes_on_where_it_stopped(corpus: Corpus, tmp_path: Path) -> None:
    first = Echo()
    first.fails = {QUERIES[1].question: "error"}
    ran = run(first, corpus, tmp_path)
    assert [row.question_id for row in ran.failed[0]] == ["q2"]
    journal = tmp_path / "answers-0.jsonl"
    journal.write_text(journal.read_text() + '\n{"query": "cut o')
    second = Echo()
    ran = run(second, corpus, tmp_path)
    assert [row.question_id for row in ran.answers[0]] == ["q1", "q2", "q3"]
    assert len(second.requests) == 2  # q2 under both seeds
    third = Echo()
    assert run(third, corpus, tmp_path).answers == ran.answers and not third.requests


def test_what_preparing_cost_is_known_after_a_try_that_found_the_index(corpus: Corpus, tmp_path: Path) -> None:
    class Indexed(Nothing):
        def __init__(self, cost: Cost) -> None:
            self.cost = cost

        async def prepare(self, corpus: Corpus, folder: Path) -> Cost:
            return self.cost

    first, later = Cost(9.0, 4, {"llm": (100, 20)}), Cost(0.5, 0, {})
    assert run(Echo(), corpus, tmp_path, source=Indexed(first)).prepared == first
    assert run(Echo(), corpus, tmp_path, source=Indexed(later)).prepared == first
    (tmp_path / "prepared.json").write_text('{"seconds": ')
    assert run(Echo(), corpus, tmp_path, source=Indexed(later)).prepared == later


def test_a_question_with_other_words_is_asked_again(corpus: Corpus, tmp_path: Path) -> None:
    run(Echo(), corpus, tmp_path)
    model = Echo()
    run(model, corpus, tmp_path, [Query("q1", "one_hop", "Who made the wall?", ["x"], ["wall"])])
    assert len(model.requests) == 2


def test_a_system_that_cannot_be_prepared_fails_its_own_questions_alone(corpus: Corpus, tmp_path: Path) -> None:
    class Broken(Evidence):
        async def prepare(self, corpus: Corpus, folder: Path) -> Cost:
            raise GenerationError("endpoint y: cannot be reached")

    ran = run(Echo(), corpus, tmp_path, source=Broken())
    assert ran.prepared is None and ran.problem == "endpoint y: cannot be reached"
    assert [(row.question_id, row.reason) for row in ran.failed[1]] == [(f"q{n}", "system_failed") for n in (1, 2, 3)]


def test_names_as_folders() -> None:
    assert folder_name("MeMo-1.7_15") == "MeMo-1.7_15"
    assert folder_name("MeMo 1/7/15 @x").startswith("MeMo_1_7_15_x-")
    # Two systems never share a journal: the one would be given the other's answers.
    assert len({folder_name(name) for name in ("a b", "a+b", "a@b", "a_b", "a=b")}) == 5
