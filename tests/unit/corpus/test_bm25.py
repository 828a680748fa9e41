from __future__ import annotations

import pytest

from memo_ray.corpus.bm25 import Bm25
from memo_ray.corpus.words import terms

TEXTS = ["The heron of Port Amber", "The lighthouse of Port Amber", "A heron, a heron and a third heron", "the the the"]


def test_rare_words_count_more_and_repetition_less_and_less():
    index = Bm25(TEXTS)
    assert {row for row, _ in index.top("lighthouse heron", 9)} == {0, 1, 2}
    assert index.top("lighthouse heron", 1)[0][0] == 1
    once, thrice = dict(index.top("heron", 3))[0], dict(index.top("heron", 3))[2]
    assert once < thrice < 3 * once
    assert index.rarity("lighthouse") > index.rarity("heron") > index.rarity("the") > 0
    assert index.rarity("unheard") > index.rarity("lighthouse")


def test_the_best_come_first_and_at_most_as_many_as_wanted():
    index = Bm25([f"word {'rare ' * n}" for n in range(6)])
    assert len(index.top("rare", 3)) == 3
    scores = [score for _, score in index.top("rare word", 6)]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("query", ["", "unheard of", "…"])
def test_a_query_that_shares_no_word_finds_nothing(query):
    assert Bm25(["a heron"]).top(query, 3) == []
    assert Bm25([]).top(query, 3) == []


def test_coverage_is_a_share_by_rarity():
    index = Bm25(TEXTS)
    assert index.coverage({"heron", "port"}, {"heron", "port", "x"}) == 1
    assert index.coverage([], {"heron"}) == 0
    assert index.coverage({"lighthouse", "the"}, {"lighthouse"}) > 0.5 > index.coverage({"lighthouse", "the"}, {"the"})


def test_of_equals_the_earlier_comes_first_also_at_the_cut():
    assert [row for row, _ in Bm25(["rare"] * 9 + ["rare rare"]).top("rare", 3)] == [9, 0, 1]


def test_words_of_two_signs_are_compared_when_the_caller_splits_so():
    index = Bm25(["港口很大", "学校很大"], lambda text: list(terms(text)))
    assert [row for row, _ in index.top("港口", 2)] == [0]
