"""What a memory was made from, to look through: documents and the recall of each, reflections, stretches of text.

A Shelf is made of the same tables as a Ledger and only reads. What it gives is plain JSON values, page by page, so that
neither a large corpus nor a long document is ever sent whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from memo_ray.rows import Answer, Chunk, LedgerEntry, Reflection

Sort = Literal["corpus", "recall"]
"""Documents in the order of the corpus, or those of which the least is recalled first, unknown ones last."""

LONGEST = 20_000
"""Characters of a document that are sent at once."""


@dataclass(slots=True)
class Shelved:
    """A document with its chunks by position, its reflections, and whether each answer about it was right."""

    title: str
    chunks: list[Chunk] = field(default_factory=list)
    reflections: list[Reflection] = field(default_factory=list)
    hits: list[bool] = field(default_factory=list)

    @property
    def characters(self) -> int:
        """Where the last chunk ends."""
        return max(chunk.end for chunk in self.chunks)

    @property
    def recall(self) -> float | None:
        """The share of its trained reflections that the memory answers rightly when it is asked alone, 0..1."""
        return sum(self.hits) / len(self.hits) if self.hits else None


class Shelf:
    """The documents of one or several corpora. `answers`: what the served memory said to trained reflections; none:
    recall is not known."""

    def __init__(
        self,
        reflections: Iterable[Reflection],
        entries: Iterable[LedgerEntry],
        chunks: Iterable[Chunk],
        answers: Iterable[Answer] = (),
    ) -> None:
        self._documents: dict[str, Shelved] = {}
        for chunk in chunks:
            self._documents.setdefault(chunk.document_id, Shelved(chunk.title)).chunks.append(chunk)
        self._chunks = {chunk.chunk_id: chunk for shelved in self._documents.values() for chunk in shelved.chunks}
        self._entries = {entry.reflection_id: entry for entry in entries}
        self._recalled = {row.question_id: row.recalled for row in answers if row.kind == "trained"}
        for shelved in self._documents.values():
            shelved.chunks.sort(key=lambda chunk: (chunk.start, chunk.end))
        for reflection in reflections:
            entry = self._entries.get(reflection.reflection_id)
            for document_id in dict.fromkeys(entry.document_ids) if entry else ():
                if document_id in self._documents:
                    self._put(self._documents[document_id], reflection)

    def documents(self, contains: str, sort: Sort, offset: int, limit: int) -> dict[str, Any]:
        """A page of the documents whose title or id holds the text `contains`, in any case."""
        wanted = contains.casefold()
        found = [
            (document_id, shelved)
            for document_id, shelved in self._documents.items()
            if wanted in shelved.title.casefold() or wanted in document_id.casefold()
        ]
        if sort == "recall":
            found.sort(key=lambda item: 2.0 if item[1].recall is None else item[1].recall)
        rows = [
            {
                "document_id": document_id,
                "title": shelved.title,
                "characters": shelved.characters,
                "chunks": len(shelved.chunks),
                "reflections": len(shelved.reflections),
                "recall": None if shelved.recall is None else round(shelved.recall, 3),
                "asked": len(shelved.hits),
            }
            for document_id, shelved in found[offset : offset + limit]
        ]
        return page(rows, len(found), offset)

    def reflections(self, document_id: str, offset: int, limit: int) -> dict[str, Any] | None:
        """A page of the reflections that a document had a part in, or None where there is no such document."""
        shelved = self._documents.get(document_id)
        if shelved is None:
            return None
        rows = [self._reflection(row) for row in shelved.reflections[offset : offset + limit]]
        return page(rows, len(shelved.reflections), offset)

    def span(self, document_id: str, start: int, end: int, around: int) -> dict[str, Any] | None:
        """Characters `start` to `end` of a document with at most `around` before and behind, or None without it.

        At most LONGEST characters of the stretch itself. What lies between two chunks, white space, comes as spaces.
        """
        shelved = self._documents.get(document_id)
        if shelved is None:
            return None
        start = min(start, shelved.characters)
        end = min(max(start, end), shelved.characters, start + LONGEST)
        first, last = max(0, start - around), min(shelved.characters, end + around)
        text = stretch(shelved.chunks, first, last)
        return {
            "document_id": document_id,
            "title": shelved.title,
            "characters": shelved.characters,
            "start": start,
            "end": end,
            "before": text[: start - first],
            "text": text[start - first : end - first],
            "after": text[end - first :],
        }

    def _put(self, shelved: Shelved, reflection: Reflection) -> None:
        shelved.reflections.append(reflection)
        recalled = self._recalled.get(reflection.reflection_id)
        if recalled is not None:
            shelved.hits.append(recalled)

    def _reflection(self, row: Reflection) -> dict[str, Any]:
        entry = self._entries[row.reflection_id]
        spans = list(zip(entry.span_documents, entry.span_starts, entry.span_ends, strict=True))
        if not spans:
            made_of = (self._chunks[chunk_id] for chunk_id in entry.chunk_ids if chunk_id in self._chunks)
            spans = [(chunk.document_id, chunk.start, chunk.end) for chunk in made_of]
        return {
            "reflection_id": row.reflection_id,
            "question": row.question,
            "answer": row.answer,
            "step": row.step,
            "split": row.split,
            "recalled": self._recalled.get(row.reflection_id),
            "places": [
                {"document_id": document_id, "start": start, "end": end}
                for document_id, start, end in spans
                if document_id in self._documents
            ],
        }


def page(rows: list[dict[str, Any]], total: int, offset: int) -> dict[str, Any]:
    """Rows as the gateway sends them: from `offset` on, of `total`."""
    return {"object": "list", "data": rows, "total": total, "offset": offset}


def stretch(chunks: Sequence[Chunk], start: int, end: int) -> str:
    """Characters `start` to `end` of the document that `chunks` (by position) were cut from, gaps as spaces."""
    parts: list[str] = []
    at = start
    for chunk in chunks:
        if chunk.end <= at:
            continue
        if chunk.start >= end:
            break
        parts.append(" " * (chunk.start - at))
        at = max(at, chunk.start)
        parts.append(chunk.text[at - chunk.start : end - chunk.start])
        at = min(end, chunk.end)
    return "".join(parts)
