"""Sentences, names, dates, numbers and noun phrases by rules."""

from __future__ import annotations

import itertools

import pytest

from memo_ray.synthesis.spans import answer_spans, names, sentences


def kinds(sentence: str) -> dict[str, str]:
    return {span.text: span.kind for span in answer_spans(sentence)}


def test_headings_and_fragments_are_no_sentences():
    assert sentences("# The Works\n\nImre Solt made glass.\nToo short.\n\n- and a list item\n") == [
        "Imre Solt made glass."
    ]


def test_a_sentence_broken_over_lines_is_one_line():
    assert sentences("Imre Solt made\nblue glass.") == ["Imre Solt made blue glass."]


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("The works opened in 1902.", {"1902": "date"}),
        ("It closed in October 1806 for good.", {"October 1806": "date"}),
        ("They meet on the first Sunday of June in Varda.", {"the first Sunday of June": "date", "Varda": "name"}),
        ("Imre Solt paid nine thousand crowns.", {"Imre Solt": "name", "nine thousand crowns": "number"}),
        ("The tower is forty-one metres tall.", {"forty-one metres tall": "number"}),
        ("They hold the Feast of Lamps on Ost.", {"Feast of Lamps": "name", "Ost": "name"}),
        ("Lena painted the door with blue ink.", {"blue ink": "thing", "door": "thing"}),
    ],
)  # fmt: skip
def test_spans_have_their_kind(sentence: str, found: dict[str, str]):
    spans = kinds(sentence)
    assert {text: spans.get(text) for text in found} == found


def test_a_plain_first_word_is_no_name():
    assert names("Workers heat the pans in Varda.") == ["Varda"]


def test_a_name_of_one_word_can_open_a_sentence():
    assert names("Varda holds the market.") == ["Varda"]


def test_names_come_once_in_order():
    assert names("Imre Solt met Lena Korb. Later Lena Korb left Imre Solt.") == [
        "Imre Solt",
        "Lena Korb",
        "Later Lena Korb",
    ]


def test_spans_never_overlap():
    for sentence in ("The red glass of the Solt Works came from Varda in May 1902.", "Two ships sank in 1806."):
        spans = answer_spans(sentence)
        assert all(first.end <= second.start for first, second in itertools.pairwise(spans))
        assert all(sentence[span.start : span.end] == span.text for span in spans)
