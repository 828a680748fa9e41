from __future__ import annotations

from memo_ray.corpus.words import content, telling, terms, words


def test_words_are_folded():
    assert words("Café Ａmber, l'été — 1790!") == ["cafe", "amber", "l", "ete", "1790"]


def test_function_words_tell_nothing_but_negations_do():
    assert telling("Who was not on the ferry, and why?") == ["not", "ferry"]


def test_a_text_of_function_words_alone_keeps_them():
    assert content("What is the heron called?") == {"heron"}
    assert content("What is it?") == {"what", "is", "it"}


def test_terms_keep_hyphens_and_pair_the_signs_of_scripts_without_spaces():
    assert list(terms("A well-known ferry, l’été 港口很大")) == ["well-known", "ferry", "l’été", "港口", "口很", "很大"]
