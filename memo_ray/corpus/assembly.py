"""Puts what the readers found together into a corpus: documents in order, each text once, chunks, groups, facts.

It is fed one document at a time, so the driver of a large run holds ids, hashes and counts but never all text.
Plain Python; `ray_corpus.py` feeds it from a cluster.
"""

from __future__ import annotations

import hashlib
import statistics
from array import array
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Protocol

from memo_ray.config.corpus import CorpusConfig
from memo_ray.corpus.chunking import Span, chunk_spans, make_chunks, words_covered
from memo_ray.corpus.communities import Texts, discover
from memo_ray.corpus.grouping import Member, facts_of_groups, make_groups, sections_of
from memo_ray.corpus.loaders import Listing
from memo_ray.corpus.reading import BROKEN_TABLE
from memo_ray.errors import CorpusError
from memo_ray.models.tokens import estimated_tokens
from memo_ray.rows import Document, Group, Reject

SHOWN_REJECTS = 3
HISTOGRAM_EDGES = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
TOKEN_EDGES = (512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072)
"""Upper ends of the ranges of the paper's Table 7."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document with what a reader's process can work out alone. `digest`: 64 hexadecimal digits over its text."""

    document: Document
    words: int
    digest: str
    spans: list[Span]


class Sink(Protocol):
    """Where finished rows go, one at a time."""

    def append(self, row: Any, /) -> None:
        """Take one row."""
        ...


def prepare(document: Document, config: CorpusConfig) -> Prepared:
    """Chunk a document and hash its text."""
    digest = hashlib.sha256(document.text.encode()).hexdigest()
    spans = chunk_spans(document.text, config.chunking)
    return Prepared(document, words_covered(document.text, spans, config.chunking), digest, spans)


class Assembly:
    """Takes documents and rejects in corpus order; writes kept documents and their chunks to two sinks."""

    def __init__(self, config: CorpusConfig, listing: Listing, documents: Sink, chunks: Sink) -> None:
        self.config = config
        self.listing = listing
        self.rejects: list[Reject] = []
        self.known: dict[str, str] = {}
        """Every readable document's id, and the id its text is kept under."""
        self._documents, self._chunks = documents, chunks
        self._texts: dict[bytes, str] = {}
        self._sources: dict[str, str] = {}
        self._members: list[Member] = []
        self._words = 0
        self._chunk_words = array("q")
        self._chunk_tokens = array("q")
        self._formats: Counter[str] = Counter()
        self._untitled = 0
        self._forget = frozenset(config.forget)
        self._forgotten = 0

    def add(self, item: Prepared | Reject) -> None:
        """Keep a document, unless it is to be forgotten or its id or its exact text is already there."""
        if isinstance(item, Reject):
            if item.row_id not in self._forget:
                self.rejects.append(item)
            return
        document, digest = item.document, bytes.fromhex(item.digest)
        name, source = document.document_id, document.source
        if name in self._forget or f"sha256:{item.digest}" in self._forget:
            self._forgotten += 1
            return
        if name in self.known:
            detail = f"{source}: has the id {name} of {self._sources[name]}; give each document its own"
            self.rejects.append(Reject(name, "corpus", "documents", "duplicate_id", detail))
            return
        self._sources[name] = source
        if digest in self._texts:
            first = self._texts[digest]
            self.known[name] = first
            detail = f"{source}: has the same text as {self._sources[first]}"
            self.rejects.append(Reject(name, "corpus", "documents", "duplicate", detail))
            return
        self.known[name] = self._texts[digest] = name
        self._keep(item)

    def _keep(self, item: Prepared) -> None:
        document = item.document
        self._documents.append(document)
        chunks = make_chunks(document, item.spans)
        for chunk in chunks:
            self._chunks.append(chunk)
            self._chunk_words.append(chunk.words)
            self._chunk_tokens.append(estimated_tokens(chunk.text))
        sections = sections_of(document.text, item.spans) if "section" in self.config.group_kinds else ()
        ids = [chunk.chunk_id for chunk in chunks]
        self._members.append(Member(document.document_id, document.label, ids, sections))
        self._words += item.words
        self._untitled += not document.title
        self._formats[_suffix(document.source)] += 1

    def finish(self, texts: Texts | None = None) -> tuple[list[Group], dict[str, Any]]:
        """The groups, and the facts of the stage. `texts` reads the chunks again, which discovered groups need.

        Raises CorpusError when no document is left, too many could not be read, or `groups` is `label` and no
        document has one.
        """
        self._check_rejects()
        kinds = self.config.group_kinds
        if "label" in kinds and not any(member.label for member in self._members):
            column = self.config.label_column
            raise CorpusError(f"corpus {self.config.name}: no document has a value in {column}; correct label_column")
        if "discovered" in kinds and texts is None:
            raise ValueError("discovered groups need the texts of the chunks")
        discovered = discover(texts, self.config.discovered) if texts and "discovered" in kinds else []
        groups = make_groups(kinds, self._members, discovered)
        facts = {
            "documents": len(self._members),
            "forgotten_documents": self._forgotten,
            "words": self._words,
            "untitled_documents": self._untitled,
            "formats": dict(sorted(self._formats.items())),
            "skipped_files": self.listing.skipped,
            "chunks": len(self._chunk_words),
            "chunk_words": distribution(self._chunk_words, HISTOGRAM_EDGES),
            "chunk_tokens": distribution(self._chunk_tokens, TOKEN_EDGES),
            **facts_of_groups(groups, kinds, len(self._chunk_words)),
            "rejects": dict(sorted(Counter(reject.reason for reject in self.rejects).items())),
        }
        return groups, facts

    def _check_rejects(self) -> None:
        bad = [reject for reject in self.rejects if reject.reason != "duplicate"]
        broken = [reject for reject in bad if reject.reason == BROKEN_TABLE]
        total = len(self._members) + len(bad)
        limit = self.config.max_reject_share
        where = f"corpus {self.config.name}"
        if broken:
            # Such a file may hold any number of documents, so no share can excuse it.
            raise CorpusError(f"{where}: {self._shown(broken)}; mend the file, or leave it out of paths")
        if not self._members:
            raise CorpusError(f"{where}: none of {total} documents can be used: {self._shown(bad)}")
        if len(bad) > limit * total:
            raise CorpusError(
                f"{where}: {len(bad)} of {total} documents cannot be used, more than max_reject_share: {limit} allows: "
                f"{self._shown(bad)}; mend or remove them, or raise max_reject_share"
            )

    def _shown(self, rejects: list[Reject]) -> str:
        lines = [self._as_given(reject.detail) for reject in rejects[:SHOWN_REJECTS]]
        more = len(rejects) - len(lines)
        return "; ".join(lines) + (f"; and {more} more" if more else "")

    def _as_given(self, detail: str) -> str:
        """`detail` with the file's name in the corpus replaced by the path as the user wrote it."""
        matching = [file for file in self.listing.files if detail.startswith(f"{file.name}:")]
        if not matching:
            return detail
        file = max(matching, key=lambda file: len(file.name))
        return file.given + detail.removeprefix(file.name)


def distribution(values: Iterable[int], edges: tuple[int, ...] = ()) -> dict[str, Any]:
    """Smallest, median, 90th percentile and largest of `values`; with `edges` a histogram of counts up to each."""
    ordered = sorted(values)
    if not ordered:
        return {}
    summary: dict[str, Any] = {
        "min": ordered[0],
        "median": statistics.median_low(ordered),
        "p90": ordered[(len(ordered) * 9 - 1) // 10],
        "max": ordered[-1],
    }
    if edges:
        bucket = Counter(next((f"<={edge}" for edge in edges if value <= edge), f">{edges[-1]}") for value in ordered)
        summary["histogram"] = dict(bucket)
    return summary


def _suffix(source: str) -> str:
    """The extension in a source such as `a/b.md` or `rows.jsonl:17`."""
    return PurePosixPath(source).suffix.partition(":")[0].lower()
