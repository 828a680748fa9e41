from __future__ import annotations

import pytest

from memo_ray.artifacts.tables import write_rows
from memo_ray.citations.files import LedgerFiles
from memo_ray.citations.ledger import Ledger
from memo_ray.citations.routing import LedgerRouter, load_router
from memo_ray.rows import Chunk, LedgerEntry, Reflection
from tests.unit.citations.conftest import PAIRS


@pytest.fixture(scope="module")
def ledgers(corpus):
    """One memory of the harbour's reflections and one of the lighthouse's."""
    reflections, entries, chunks = corpus
    return {
        name: Ledger([row for row, pair in zip(reflections, PAIRS, strict=True) if pair[0] == name], entries, chunks)
        for name in ("harbour", "light")
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
def test_a_question_goes_to_the_memory_with_the_nearest_reflections(ledgers, question, memory):
    assert LedgerRouter(ledgers, "likeliest").choose(question) == (memory,)
    assert LedgerRouter(ledgers, "all").choose(question)[0] == memory


def test_what_no_reflection_is_near_to_goes_to_every_memory(ledgers):
    assert LedgerRouter(ledgers, "likeliest").choose("Quoi?") == ("harbour", "light")
    assert set(LedgerRouter(ledgers, "all").choose("When was the lighthouse lit?")) == {"harbour", "light"}


def test_the_answer_that_its_own_ledger_supports_is_kept(ledgers):
    router = LedgerRouter(ledgers, "all")
    asked = "Who built the Skarn lighthouse?"
    assert router.keep(asked, {"harbour": "Ilse Verran", "light": "Odo Stell"}) == "light"
    assert router.keep("Who founded Port Amber?", {"light": "Odo Stell", "harbour": "Ilse Verran"}) == "harbour"


def test_an_abstention_comes_last_and_of_equals_the_likelier_counts(ledgers):
    router = LedgerRouter(ledgers, "all")
    asked = "Who built the Skarn lighthouse?"
    assert router.keep(asked, {"harbour": "Per Tallow", "light": "I don't know."}) == "harbour"
    assert router.keep(asked, {"harbour": "I don't know.", "light": "I don't know."}) == "light"
    assert router.keep(asked, {"harbour": "Per Tallow"}) == "harbour"


def test_a_router_is_read_from_the_tables_of_runs(corpus, tmp_path):
    reflections, entries, chunks = corpus
    write_rows(tmp_path / "ledger.parquet", entries, LedgerEntry)
    write_rows(tmp_path / "chunks.parquet", chunks, Chunk)
    files = {}
    for name in ("harbour", "light"):
        rows = [row for row, pair in zip(reflections, PAIRS, strict=True) if pair[0] == name]
        write_rows(tmp_path / f"{name}.parquet", rows, Reflection)
        tables = (str(tmp_path / f"{table}.parquet") for table in (name, "ledger", "chunks"))
        files[name] = [LedgerFiles(**dict(zip(("reflections", "ledger", "chunks"), tables, strict=True)))]
    assert load_router(files, "likeliest").choose("When was the lighthouse lit?") == ("light",)
