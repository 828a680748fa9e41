"""What a pair can be found by: its entities (names and numbers) and its content words, as sparse matrices.

Pairs of one group go in, a `TermTable` comes out: one row a pair, one column an entity or a word. Step 5 proposes
pairs by them (`links.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from memo_ray.corpus.bm25 import TermRows
from memo_ray.corpus.words import terms
from memo_ray.synthesis.grounding import NUMBER
from memo_ray.synthesis.lexicon import FUNCTION_WORDS
from memo_ray.synthesis.pairs import Pair
from memo_ray.synthesis.spans import names
from memo_ray.synthesis.verbs import stem

SENTENCE_CHARACTERS = 300
"""Evidence up to this length is the sentence behind a pair and tells about it; a longer one is a whole chunk, whose
names are those of every other pair of the chunk."""


@dataclass(frozen=True)
class TermTable:
    """Pairs, their chunks (`chunks[i]`: the number of pair i's chunk, ascending) and their terms.

    `entities`: pairs x entities, ones; `words`: pairs x words, how often each stands in the pair. `entity_names`
    has the name of every entity column.
    """

    chunks: NDArray[np.int32]
    entities: csr_array
    words: csr_array
    entity_names: list[str]

    @cached_property
    def spread(self) -> NDArray[np.int64]:
        """In how many chunks each entity is."""
        rows = np.repeat(self.chunks, np.diff(self.entities.indptr)).astype(np.int64)
        width = len(self.entity_names)
        return np.bincount(np.unique(rows * width + self.entities.indices) % max(width, 1), minlength=width)


def term_table(pairs: Sequence[Pair], chunks: Sequence[int], short_names: bool) -> TermTable:
    """The terms of `pairs`, which are in the order of their chunks' numbers, `chunks`.

    `short_names`: a name also counts as every shorter name of the group that is part of it.
    """
    known: dict[str, list[str]] = {}
    marks = [entity_marks(pair, known) for pair in pairs]
    shorter = shorter_forms(mark for found in marks for mark in found) if short_names else {}
    entities, entity_ids = TermRows(), dict[str, int]()
    words, word_ids, stems = TermRows(), dict[str, int](), dict[str, str]()
    for pair, found in zip(pairs, marks, strict=True):
        held = dict.fromkeys((*found, *(form for mark in found for form in shorter.get(mark, ()))))
        entities.add({entity_ids.setdefault(mark, len(entity_ids)): 1 for mark in held})
        counts: dict[int, int] = {}
        for word in terms(telling(pair)):
            if word in FUNCTION_WORDS:
                continue
            if word not in stems:
                stems[word] = stem(word)
            number = word_ids.setdefault(stems[word], len(word_ids))
            counts[number] = counts.get(number, 0) + 1
        words.add(counts)
    return TermTable(
        np.asarray(chunks, dtype=np.int32), entities.matrix(len(entity_ids)), words.matrix(len(word_ids)),
        list(entity_ids),
    )  # fmt: skip


def telling(pair: Pair) -> str:
    """The text that tells what a pair is about: question, answer and the sentence behind them, if there is one."""
    return f"{pair.question} {pair.answer} {sentence_of(pair)}"


def sentence_of(pair: Pair) -> str:
    """The evidence, if it is a sentence and not a whole chunk."""
    return pair.evidence if len(pair.evidence) <= SENTENCE_CHARACTERS else ""


def entity_marks(pair: Pair, known: dict[str, list[str]] | None = None) -> list[str]:
    """The names and numbers by which a pair can be tied to another, each once.

    Names are looked for in the sentence behind the pair, or, where only a whole chunk is known, in the pair itself.
    `known` remembers the names of texts, since several pairs come from one sentence.
    """
    known = {} if known is None else known
    found: list[str] = []
    sentence = sentence_of(pair)
    for text in (sentence,) if sentence else (pair.question, pair.answer):
        if text not in known:
            known[text] = names(text)
        found += known[text]
    asked = f"{pair.question} {pair.answer}"
    return list(dict.fromkeys((*found, *(number.group() for number in NUMBER.finditer(asked)))))


def shorter_forms(marks: Iterable[str]) -> dict[str, list[str]]:
    """For every mark the other marks that are part of it: `Thrane` and `Abel Thrane` of `Captain Abel Thrane`."""
    split = {mark: mark.split(" ") for mark in marks}
    return {
        mark: [
            form
            for start in range(len(words))
            for end in range(start + 1, len(words) + 1)
            if (form := " ".join(words[start:end])) in split and form != mark
        ]
        for mark, words in split.items()
    }
