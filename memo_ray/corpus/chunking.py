"""Cuts a document's text into chunks (paper, Appendix D): the whole document, or a sliding window of words.

Text in, character spans out; a chunk's text is exactly the document's text between its offsets, so nothing is
retyped and a citation can point into the document.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass

from memo_ray.config.corpus import SlidingWindow, WholeDocument
from memo_ray.rows import Chunk, Document, content_id

# Chinese and Japanese put no spaces between words; there a character counts as a word, or a book would be one word.
IDEOGRAPH = "\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{IDEOGRAPH}]|[^\s{IDEOGRAPH}]+")


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` to `end` (exclusive) of a text, holding `words` words."""

    start: int
    end: int
    words: int


def count_words(text: str) -> int:
    """Runs of characters between white space; each ideograph or kana counts as one word."""
    return sum(1 for _ in WORD.finditer(text))


def chunk_spans(text: str, chunking: WholeDocument | SlidingWindow) -> list[Span]:
    """The chunks of `text`, in order; none for a text without a word.

    Windows hold `chunking.words` words, each starting `words - overlap` after the one before; the last one ends
    with the text and may be shorter, but always holds words that the one before does not. A text that fits into
    one window is one chunk of all its characters.
    """
    starts, ends = array("q"), array("q")
    for word in WORD.finditer(text):
        starts.append(word.start())
        ends.append(word.end())
    total = len(starts)
    if not total:
        return []
    if isinstance(chunking, WholeDocument) or total <= chunking.words:
        return [Span(0, len(text), total)]
    step = chunking.words - chunking.overlap
    windows = -(-(total - chunking.words) // step) + 1
    spans = []
    for first in range(0, windows * step, step):
        last = min(first + chunking.words, total) - 1
        spans.append(Span(starts[first], ends[last], last - first + 1))
    return spans


def words_covered(spans: list[Span], chunking: WholeDocument | SlidingWindow) -> int:
    """The words of the text that `chunk_spans` cut into `spans`, counting what windows share once."""
    shared = chunking.overlap if isinstance(chunking, SlidingWindow) else 0
    return sum(span.words for span in spans) - shared * max(0, len(spans) - 1)


def make_chunks(document: Document, spans: list[Span]) -> list[Chunk]:
    """The chunk rows of a document. Ids hash the document's id, the offset and the text."""
    return [
        Chunk(
            chunk_id=content_id(document.document_id, str(span.start), document.text[span.start : span.end]),
            document_id=document.document_id,
            index=index,
            title=document.title,
            text=document.text[span.start : span.end],
            words=span.words,
            start=span.start,
            end=span.end,
            label=document.label,
        )
        for index, span in enumerate(spans)
    ]
