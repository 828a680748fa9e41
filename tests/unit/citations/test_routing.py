from __future__ import annotations

import pytest

from memo_ray.artifacts.tables import write_rows
from memo_ray.citations.files import LedgerFiles
from memo_ray.citations.routing import load_router, router_over
from memo_ray.rows import Reflection
from tests.unit.citations.conftest import PAIRS


@pytest.fixture(scope="module")
def memories(corpus):
    """Reflections of a memory of the harbour and of one of the lighthouse."""
    reflections, _, _ = corpus
    names = [name for name, _, _ in PAIRS]
    return {
        memory: [row for row, name in zip(reflections, names, strict=True) if name == memory]
        for memory in ("harbour", "light")
    }


@pytest.mark.parametrize(
    ("question", "memory"),
    [
        ("By whom was Port Amber founded?", "harbour"),
        ("What did Ilse Verran work as?", "harbour"),
        ("When was the lighthouse lit?", "light"),
        ("Skarn?", "light"),
    ],
)
def test_a_question_goes_to_the_memory_with_the_nearest_reflections(memories, question, memory):
    assert router_over(memories, "likeliest").choose(question) == (memory,)
    assert router_over(memories, "all").choose(question)[0] == memory


def test_what_no_reflection_is_near_to_goes_to_every_memory(memories):
    assert router_over(memories, "likeliest").choose("Quoi?") == ("harbour", "light")
    assert set(router_over(memories, "all").choose("When was the lighthouse lit?")) == {"harbour", "light"}


def test_the_answer_that_its_own_ledger_supports_is_kept(memories):
    router = router_over(memories, "all")
    asked = "Who built the Skarn lighthouse?"
    assert router.keep(asked, {"harbour": "Ilse Verran", "light": "Odo Stell"}) == "light"
    assert router.keep("Who founded Port Amber?", {"light": "Odo Stell", "harbour": "Ilse Verran"}) == "harbour"


def test_an_abstention_comes_last_and_of_equals_the_likelier_counts(memories):
    router = router_over(memories, "all")
    asked = "Who built the Skarn lighthouse?"
    assert router.keep(asked, {"harbour": "Per Tallow", "light": "I don't know."}) == "harbour"
    assert router.keep(asked, {"harbour": "I don't know.", "light": "I don't know."}) == "light"
    assert router.keep(asked, {"harbour": "Per Tallow"}) == "harbour"


def test_held_out_reflections_attract_nothing(memories):
    unseen = Reflection("h", "Which gannet nests on Quern Rock?", "the old one", "rephrase", "held_out")
    router = router_over(memories | {"light": [*memories["light"], unseen]}, "likeliest")
    assert router.ranked("Which gannet nests on Quern Rock?") == {"harbour": 0.0, "light": 0.0}


def test_a_router_is_read_from_the_tables_of_runs(memories, tmp_path):
    files = {}
    for name, rows in memories.items():
        write_rows(tmp_path / f"{name}.parquet", rows, Reflection)
        files[name] = [LedgerFiles(reflections=str(tmp_path / f"{name}.parquet"), ledger="unread", chunks="unread")]
    assert load_router(files, "likeliest").choose("When was the lighthouse lit?") == ("light",)
