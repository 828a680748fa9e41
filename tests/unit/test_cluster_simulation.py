"""The simulation's constants are those of the pages, its arithmetic is right, and it names what breaks first."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import cluster_simulation as simulation
from memo_ray.config.synthesis import Connections
from memo_ray.synthesis import ray_pass, units

ROOT = Path(__file__).resolve().parents[2]
GIVEN = simulation.Assumed()


@pytest.mark.parametrize("name", simulation.MEASURED)
def test_a_constant_is_in_the_page_that_it_names(name: str) -> None:
    constant = simulation.MEASURED[name]
    page = " ".join((ROOT / "docs" / constant.page).read_text(encoding="utf-8").split())
    assert constant.words in page


def test_files_are_as_large_and_read_as_many_at_once_as_in_a_pass() -> None:
    assert (simulation.ROWS_A_FILE, simulation.READ_AT_ONCE) == (ray_pass.ROWS_A_FILE, ray_pass.READ_AT_ONCE)
    assert units.CANDIDATES_A_ROW == simulation.CANDIDATES_A_ROW
    assert Connections().batch_size == simulation.BATCH


def test_the_pages_table_is_what_comes_out() -> None:
    page = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.+) \| ([\d,]+) \|$", page, re.MULTILINE)
    found = simulation.breaking_points(64, "shared_entities", GIVEN)
    assert rows == [(row["limit"], f"{row['chunks']:,}") for row in found]


def test_step_5_grows_with_the_square_over_all_pairs_and_hardly_faster_than_the_corpus_over_candidates() -> None:
    small, large = (simulation.step_5_prompts(chunks, "all_pairs") for chunks in (1000, 2000))
    assert large == pytest.approx(4 * small)
    assert simulation.candidate_pairs(8000) == pytest.approx(51_200**2 / 2 * 0.0016)
    grown = simulation.candidate_pairs(80_000) / simulation.candidate_pairs(8000)
    assert grown == pytest.approx(10**1.11)


def test_more_nodes_speed_up_the_engines_alone() -> None:
    one, many = (simulation.hours(1e6, nodes, "shared_entities", GIVEN) for nodes in (1, 64))
    assert one["engines"] == pytest.approx(64 * many["engines"], rel=0.1)
    assert {name: value for name, value in one.items() if name != "engines"} == {
        name: value for name, value in many.items() if name != "engines"
    }


def test_what_breaks_comes_in_order_and_a_larger_head_moves_its_own_limit_only() -> None:
    found = simulation.breaking_points(64, "shared_entities", GIVEN)
    assert [row["chunks"] for row in found] == sorted(row["chunks"] for row in found)
    small = {row["limit"]: row["chunks"] for row in found}
    large = {
        row["limit"]: row["chunks"]
        for row in simulation.breaking_points(64, "shared_entities", replace(GIVEN, head_gib=64))
    }
    assert large.pop("driver memory") > 1.9 * small.pop("driver memory")
    assert large == small
    at = small["one row a task"]
    assert simulation.loads(at * 1.2, 64, "shared_entities", GIVEN)["one row a task"] > 1
    assert simulation.loads(at / 1.2, 64, "shared_entities", GIVEN)["one row a task"] < 1
