"""Where in the documents a pair was found, and under which licence: what the ledger says beside the chunks.

Pairs and chunks in, character spans of documents out. A pair of Step 1 is looked for in its chunk: the sentence it was
made from where that is known, else the sentence that holds its answer and most of its words. A derived pair has the
spans of the pairs behind it. What cannot be found has no span; nothing is guessed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from memo_ray.corpus.sentences import split_sentences
from memo_ray.rows import Chunk, Document, LedgerEntry
from memo_ray.synthesis.cast import bare
from memo_ray.synthesis.grounding import content_words, numbers
from memo_ray.synthesis.pairs import Pair

LEAST_ANSWER = 0.6
"""Share of the answer's content words that a sentence must hold to be the pair's source."""
LEAST_PAIR = 0.4
"""The same of question and answer together."""
MOST_SPANS = 32
"""A derived pair points at no more stretches than this."""
CHUNKS_REMEMBERED = 64

Span = tuple[str, int, int]
"""Document id, and start and end (exclusive) of characters in its text."""


@dataclass(frozen=True)
class Sentences:
    """A chunk's sentences: offsets in the chunk, and for every content word the sentences that hold it."""

    spans: tuple[tuple[int, int], ...]
    holders: dict[str, frozenset[int]]


class Provenance:
    """Finds the spans of pairs. `pairs`: every pair that may be a parent, lost ones included."""

    def __init__(self, chunks: Sequence[Chunk], documents: Iterable[Document], pairs: Iterable[Pair]) -> None:
        self._chunks, self._numbers = chunks, {chunk.chunk_id: number for number, chunk in enumerate(chunks)}
        self._licences = {document.document_id: document.licence for document in documents}
        pairs = list(pairs)
        parents = {parent for pair in pairs for parent in pair.parents}
        self._pairs = {key: pair for pair in pairs if (key := pair.reflection_id) in parents}
        self._found: dict[str, tuple[Span, ...]] = {}
        self._sentences = lru_cache(CHUNKS_REMEMBERED)(sentences_of)

    def complete(self, pair: Pair, entry: LedgerEntry) -> LedgerEntry:
        """The ledger's row of `pair` with its spans and licences."""
        spans = self.spans(pair)
        licences = dict.fromkeys(self._licences.get(document_id, "") for document_id in pair.document_ids)
        return replace(
            entry,
            licence="; ".join(licence for licence in licences if licence),
            span_documents=[span[0] for span in spans],
            span_starts=[span[1] for span in spans],
            span_ends=[span[2] for span in spans],
        )

    def spans(self, pair: Pair) -> tuple[Span, ...]:
        """The stretches of documents behind `pair`, in the order of its parents; none where none is found."""
        key = pair.reflection_id
        known = self._found.get(key)
        if known is not None:
            return known
        if key in self._pairs:
            self._found[key] = ()  # ends a circle, which a duplicate's id could close
        parents = [self._pairs[parent] for parent in pair.parents if parent in self._pairs]
        found = [span for parent in parents for span in self.spans(parent)]
        if not pair.parents:
            found = [span for chunk_id in pair.chunk_ids for span in self._located(pair, chunk_id)]
        spans = tuple(dict.fromkeys(found))[:MOST_SPANS]
        if key in self._pairs:  # only a parent is asked for again
            self._found[key] = spans
        return spans

    def _located(self, pair: Pair, chunk_id: str) -> list[Span]:
        number = self._numbers.get(chunk_id)
        if number is None:
            return []
        chunk = self._chunks[number]
        place = evidence_at(pair.evidence, chunk.text, self._sentences(chunk.text))
        if place is None:
            place = supporting(pair, self._sentences(chunk.text))
        return [] if place is None else [(chunk.document_id, chunk.start + place[0], chunk.start + place[1])]


def sentences_of(text: str) -> Sentences:
    """The sentences of a chunk's text and where each of their words is."""
    spans = tuple(split_sentences(text))
    holders: dict[str, set[int]] = defaultdict(set)
    for number, (start, end) in enumerate(spans):
        for word in words_of(text[start:end]):
            holders[word].add(number)
    return Sentences(spans, {word: frozenset(found) for word, found in holders.items()})


def words_of(text: str) -> set[str]:
    """What a text can be recognised by: its content words and numbers."""
    return {*content_words(text), *numbers(text)}


def evidence_at(evidence: str, text: str, sentences: Sentences) -> tuple[int, int] | None:
    """Where `evidence` stands in the chunk, when it is a part of it: a sentence, whose white space may differ."""
    if not evidence or evidence.endswith(text):
        return None
    start = text.find(evidence)
    if start >= 0:
        return start, start + len(evidence)
    wanted = evidence.split()
    return next((span for span in sentences.spans if text[span[0] : span[1]].split() == wanted), None)


def supporting(pair: Pair, sentences: Sentences) -> tuple[int, int] | None:
    """The sentence that holds enough of the pair's answer and most of the pair; None when no sentence does."""
    answer, whole = words_of(pair.answer), words_of(f"{bare(pair.question)} {pair.answer}")
    if not whole:
        return None
    in_answer = Counter(number for word in answer for number in sentences.holders.get(word, ()))
    in_whole = Counter(number for word in whole for number in sentences.holders.get(word, ()))
    fitting = [
        (count, in_answer[number], -number)
        for number, count in in_whole.items()
        if count >= LEAST_PAIR * len(whole) and in_answer[number] >= LEAST_ANSWER * len(answer)
    ]
    return sentences.spans[-max(fitting)[2]] if fitting else None
