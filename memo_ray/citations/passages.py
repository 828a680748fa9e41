"""Retrieval over the chunks, for the protocol's `hybrid` option: BM25 over sentences with what stands around them."""

from __future__ import annotations

from collections.abc import Sequence

from memo_ray.corpus.bm25 import Bm25
from memo_ray.corpus.sentences import split_sentences
from memo_ray.protocol.state import Passage
from memo_ray.rows import Chunk


class ChunkRetriever:
    """Finds windows of sentences in chunks. A Retriever of the protocol's driver; it computes and waits for nothing."""

    def __init__(self, chunks: Sequence[Chunk], passage_chars: int) -> None:
        """`passage_chars`: the longest window; a longer sentence is a window of its own."""
        self._windows = [
            (chunk, start, end) for chunk in chunks for start, end in windows_of(chunk.text, passage_chars)
        ]
        self._index = Bm25([f"{chunk.title} {chunk.text[start:end]}" for chunk, start, end in self._windows])

    async def retrieve(self, query: str, count: int) -> tuple[Passage, ...]:
        """At most `count` windows that share words with `query`, best first; one text only once."""
        found: dict[str, Passage] = {}
        for row, score in self._index.top(query, 2 * count):
            chunk, start, end = self._windows[row]
            text = chunk.text[start:end]
            found.setdefault(text, Passage(text, chunk.document_id, chunk.start + start, chunk.start + end, score))
        return tuple(found.values())[:count]


def windows_of(text: str, longest: int) -> list[tuple[int, int]]:
    """Runs of whole sentences of at most `longest` characters, in order; each begins at half of the one before."""
    spans = split_sentences(text)
    windows: list[tuple[int, int]] = []
    first = 0
    while first < len(spans):
        last = first
        while last + 1 < len(spans) and spans[last + 1][1] - spans[first][0] <= longest:
            last += 1
        windows.append((spans[first][0], spans[last][1]))
        if last == len(spans) - 1:
            break
        first += max(1, (last - first + 1) // 2)
    return windows
