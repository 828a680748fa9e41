"""What the corpus says to a memory's answer: its nearest reflections, and through the ledger the documents and spans.

`Ledger.support` takes a sub-question and the memory's answer and gives the reflections that state the same, each
with a score from 0 to 1 and the places in the documents that it was made from; none where no score reaches the
threshold: the answer is then "not supported by the ledger". The threshold is chosen on held-out rephrasings
(`calibration.py`), not by guess.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np

from memo_ray.citations.calibration import Calibration
from memo_ray.corpus.bm25 import Bm25
from memo_ray.corpus.sentences import split_sentences
from memo_ray.corpus.words import content, words
from memo_ray.rows import Chunk, LedgerEntry, Reflection

CANDIDATES = 20
"""Reflections looked at more closely for one answer."""

MOST = 3
"""Reflections cited for one answer, and places cited for one reflection."""

ASIDE = 0.5
"""What the words of an answer count for that only a reflection's question holds, beside its answer."""

NOT_SUPPORTED = "not supported by the ledger"


class Embedder(Protocol):
    """Turns texts into unit vectors, so that their dot product is a similarity."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """One row of unit length for each text."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a document says it. `start`, `end`: character offsets in the document's text."""

    document_id: str
    chunk_id: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Match:
    """A reflection that states what the memory said. `score`: 0 to 1."""

    reflection_id: str
    question: str
    answer: str
    score: float
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Support:
    """What the ledger has for one answer. `score`: of the best match, or the best one there was below the threshold."""

    score: float
    matches: tuple[Match, ...]

    def body(self) -> dict[str, Any]:
        """As POST /v1/answers shows it."""
        found = [{**asdict(match), "score": round(match.score, 3)} for match in self.matches]
        verdict = {} if found else {"note": NOT_SUPPORTED}
        return {"supported": bool(found), "score": round(self.score, 3), "reflections": found, **verdict}


class Ledger:
    """The trained reflections of a run with their ledger and the chunks they came from, indexed."""

    def __init__(
        self,
        reflections: Sequence[Reflection],
        entries: Sequence[LedgerEntry],
        chunks: Sequence[Chunk],
        calibration: Calibration | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        """Held-out reflections are left out: no memory has learned them. `calibration`: none is the default one."""
        self.reflections = [row for row in reflections if row.split == "train"]
        self.calibration = calibration or Calibration()
        self._entries = {entry.reflection_id: entry for entry in entries}
        self._chunks = {chunk.chunk_id: chunk for chunk in chunks}
        self._by_chunk: dict[str, list[int]] = {}
        for row, reflection in enumerate(self.reflections):
            entry = self._entries.get(reflection.reflection_id)
            for chunk_id in entry.chunk_ids if entry else ():
                self._by_chunk.setdefault(chunk_id, []).append(row)
        self._index = Bm25([f"{row.question} {row.answer}" for row in self.reflections])
        self._words = [set(words(f"{row.question} {row.answer}")) for row in self.reflections]
        self._answers = [set(words(row.answer)) for row in self.reflections]
        self._embedder = embedder
        self._vectors = embedder.embed([row.question for row in self.reflections]) if embedder else None

    def support(self, question: str, answer: str) -> Support:
        """The reflections that state `answer` to `question`, best first, and where they came from."""
        found = self.scored(question, answer)
        best = found[0][1] if found else 0.0
        kept = [(row, score) for row, score in found if score >= self.calibration.threshold][:MOST]
        return Support(best, tuple(self.match(row, score, question, answer) for row, score in kept))

    def scored(self, question: str, answer: str, without: Collection[str] = ()) -> list[tuple[int, float]]:
        """Reflections by position with their scores, best first. `without`: ids that are passed over.

        The score is the geometric mean of two shares, both weighted by the rarity of words: how much of the answer
        and how much of the question the reflection holds. A right topic with another answer scores 0, and so does
        the same word in another matter, nearly. With an embedder the question's share is the cosine of the two
        questions where that is larger.
        """
        rows = [row for row, _ in self._index.top(f"{question} {answer}", CANDIDATES + len(without))]
        likeness: Mapping[int, float] = {}
        if self._vectors is not None and self._embedder is not None and len(self.reflections):
            cosines = self._vectors @ self._embedder.embed([question])[0]
            rows += np.argsort(-cosines)[: CANDIDATES + len(without)].tolist()
            likeness = {row: float(cosines[row]) for row in rows}
        asked, said = content(question), content(answer)
        scores = {
            row: math.sqrt(
                self._stated(said, row) * max(self._index.coverage(asked, self._words[row]), likeness.get(row, 0.0))
            )
            for row in dict.fromkeys(rows)
            if self.reflections[row].reflection_id not in without
        }
        return sorted(scores.items(), key=lambda item: (-item[1], item[0]))

    def _stated(self, said: set[str], row: int) -> float:
        """How much of an answer's words a reflection's answer holds; words of its question count for less."""
        return max(
            self._index.coverage(said, self._answers[row]),
            ASIDE * self._index.coverage(said, self._words[row]),
        )

    def match(self, row: int, score: float, question: str, answer: str) -> Match:
        """A reflection with its places in the documents."""
        found = self.reflections[row]
        entry = self._entries.get(found.reflection_id)
        stated, wanted = content(f"{answer} {found.answer}"), content(f"{question} {found.question}")
        chunks = [self._chunks[chunk_id] for chunk_id in entry.chunk_ids if chunk_id in self._chunks] if entry else []
        places = tuple(self.place(chunk, stated, wanted) for chunk in chunks[:MOST])
        return Match(found.reflection_id, found.question, found.answer, score, places)

    def place(self, chunk: Chunk, stated: set[str], wanted: set[str]) -> Place:
        """The sentence of a chunk that holds most of an answer's words `stated` and a question's words `wanted`."""
        start, end = best_sentence(self._index, chunk.text, stated, wanted)
        return Place(chunk.document_id, chunk.chunk_id, chunk.start + start, chunk.start + end)

    def made_from(self, chunk_id: str) -> list[Reflection]:
        """The trained reflections that came from a chunk."""
        return [self.reflections[row] for row in self._by_chunk.get(chunk_id, ())]

    def entry(self, reflection_id: str) -> LedgerEntry | None:
        """Where a reflection came from, if the ledger has it."""
        return self._entries.get(reflection_id)


def best_sentence(index: Bm25, text: str, stated: set[str], wanted: set[str]) -> tuple[int, int]:
    """Start and end of the sentence that holds most of both sets of words; those `stated` count twice, and the first
    of equals is taken."""

    def held(span: tuple[int, int]) -> float:
        there = set(words(text[span[0] : span[1]]))
        return 2 * index.coverage(stated, there) + index.coverage(wanted, there)

    return max(split_sentences(text) or [(0, len(text))], key=held)
