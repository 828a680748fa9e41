"""Compressibility, and what is left without a step."""

from __future__ import annotations

import gzip

import pytest

from memo_ray.synthesis import statistics
from tests.unit.synthesis.conftest import make_pair

ROOT = make_pair("Who built the wall?", "Rolf")
MERGED = make_pair("Who built the wall and when?", "Rolf, 1784", step="consolidation", parents=(ROOT.reflection_id,))
CLUE = make_pair("Which mason of 1784 also lit a tower?", "Rolf", step="connections", parents=(MERGED.reflection_id,))
INFERRED = make_pair("What was Rolf?", "a mason", step="indirect")


def test_the_ratio_is_gzips_own_at_level_9():
    pairs = [make_pair(f"Who built wall number {n}?", "Rolf Anstick") for n in range(50)]
    text = "".join(f"{pair.question}\n{pair.answer}\n" for pair in pairs).encode()
    assert statistics.gzip_ratio(pairs) == pytest.approx(len(text) / len(gzip.compress(text, 9)), rel=0.02)
    assert statistics.gzip_ratio([]) == 0.0


def test_what_is_left_without_a_step_follows_the_parents():
    found = statistics.left_without([ROOT, MERGED, CLUE, INFERRED])
    assert found == {"connections": 0.75, "consolidation": 0.5, "direct": 0.25, "indirect": 0.75}


def test_the_data_ratio_counts_training_pairs_of_two_runs():
    full = {"direct": {"kept": 6}, "connections": {"kept": 4}, "rephrase": {"kept": 9}}
    assert statistics.data_ratio({"direct": {"kept": 6}, "rephrase": {"kept": 1}}, full) == 0.6
    with pytest.raises(ValueError, match="kept no pair"):
        statistics.data_ratio(full, {})
