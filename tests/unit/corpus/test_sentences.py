"""Where sentences end, and where a full stop does not end one."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memo_ray.corpus.sentences import split_sentences

ROOT = Path(__file__).resolve().parents[3]
TALES = ROOT.parent / "shared" / "data" / "fairytales" / "docs"


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in split_sentences(text)]


# One case a line; `|` marks where a sentence ends.
CASES = {
    "plain": "The ship sailed in 1811.| It sank! |Who saw it? |Nobody.",
    "titles": "Mr. Smith met Dr. Jones.| Capt. Tweed was late.",
    "initials": "J. R. R. Tolkien wrote it.| Then J. A. Smith read it.",
    "a letter that ends one": "We took plan B.| He agreed.| It was I.| She knew.",
    "decimals": "It is 3.14 metres long.| Version 2.0.1 is out.",
    "amounts": "It cost $4.50.| That is 3.5 percent more.",
    "numbers": "See No. 5 and Fig. 3 on p. 12.| It is there.",
    "no as a word": "He said no.| Then he left.",
    "months": "In Sept. 1811 it sank.| It was cold.",
    "acronyms": "The U.S. Army came.| They live in the U.S.| He likes it.",
    "times": "It opens at 9 a.m. on Mondays.| We left at 5 p.m.| The rest stayed.",
    "examples": "Some fish, e.g. Salmon and Trout, swim upstream.| Others do not.",
    "companies": "Acme Inc. Vice President Lee spoke.| He works at Acme Inc.| The firm is old.",
    "et cetera": "They sold salt, eels, etc.| The market closed.",
    "saints": "St. Olave lies in the north.| They met in Main St.| The road was wet.",
    "ellipsis": "He waited... and then he ran.| Hm...| Nobody came.",
    "quoted sentence": 'He said "Stop. Go home!" and left.| She stayed.',
    "quote at the end": 'He thought: "I might as well go home."| He went.',
    "speech tag": '"Who is there?" the miller asked.| "Nobody!" |The door closed.',
    "small speech tag": '"Go away!" she said.| He went.',
    "curly quotes": "“Where is it? I lost it,” he said.| “Here it is!”| They laughed.",
    "brackets": "He came (see Fig. 3. It shows him).| She did not.",
    "bracketed sentence": "He came. |(She did not.) |They waited.",
    "list numbers": "1. Cut the salt.|\n2. Dry it.",
    "marked lines": "# The Bell Law|\nIt passed in 1811.|\n- one thing|\n- another. |And more",
    "line breaks": "A line that goes\non here.| The next\nline.",
    "paragraphs": "No full stop here|\n\nA new paragraph",
    "repeated marks": "What?! |No!!! |Well...",
    "small letter goes on": "He went to the inn at 5. then he slept.",
    "other scripts": "今日は晴れ。|明日は雨！|本当？",
    "accents": "Il est né en 1811.| Élise l'aimait.",
    "apostrophes": "The harbour masters' boats left.| 'Tis late.",
}


@pytest.mark.parametrize("marked", CASES.values(), ids=CASES.keys())
def test_sentences_end_where_marked(marked: str) -> None:
    expected = [piece.strip() for piece in marked.split("|")]
    assert sentences(marked.replace("|", "")) == expected


@pytest.mark.parametrize("text", ["", " ", "\n\n \t"])
def test_nothing_in_nothing_out(text: str) -> None:
    assert split_sentences(text) == []


def test_a_very_long_quotation_is_split_and_does_not_disturb_later_ones() -> None:
    monologue = "I walked on. " * 40
    text = f'"{monologue}The end." He slept. She said "Rest. Sleep." and left. Dawn came.'
    found = sentences(text)
    assert found.count("I walked on.") == 39
    assert found[-3:] == ["He slept.", 'She said "Rest. Sleep." and left.', "Dawn came."]


PIECES = ["Mr", "No", "A", "the", "He", "5", "U.S", *'.!?"“”() 。…#', "\n", "\n\n", "- "]


@given(st.lists(st.sampled_from(PIECES), max_size=60).map("".join) | st.text(max_size=200))
def test_every_visible_character_lies_in_exactly_one_sentence(text: str) -> None:
    spans = split_sentences(text)
    assert all(start < end and text[start:end] == text[start:end].strip() for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    inside = {index for start, end in spans for index in range(start, end)}
    assert all(index in inside for index, character in enumerate(text) if not character.isspace())


@pytest.mark.skipif(not TALES.is_dir(), reason="the fairy tales are not beside this checkout")
def test_fairy_tales_split_into_sentences_of_a_usable_length() -> None:
    found = [sentence for path in sorted(TALES.glob("*.txt")) for sentence in sentences(path.read_text("utf-8"))]
    lengths = sorted(len(sentence.split()) for sentence in found)
    assert 150 < len(found) < 400
    assert 8 <= lengths[len(lengths) // 2] <= 30
    assert sum(sentence[-1] in ".!?\"'”:;)" for sentence in found) / len(found) > 0.95
