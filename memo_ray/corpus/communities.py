"""Discovers groups in the texts: chunks that share rare words, put together nearest first, up to a size.

Chunk texts in, lists of chunk ids out. The texts are read twice and never held: once to count in how many chunks each
term is, once to keep every chunk's rarest terms, about a kilobyte each. Terms are counted by a 20-bit hash, so that
the memory does not grow with the vocabulary; two terms with one hash count as one, which only makes them less rare.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from memo_ray.config.corpus import Discovered
from memo_ray.corpus.bm25 import TermRows, size_of
from memo_ray.corpus.neighbours import nearest
from memo_ray.corpus.words import terms

HASHES = 1 << 20
TERMS_A_CHUNK = 128
"""The rarest terms of a chunk that another chunk has too: what it can be found by."""

Texts = Callable[[], Iterable[tuple[str, str]]]
"""Gives every chunk's id and text, in corpus order, as often as it is called."""


def chunk_texts(table: Path) -> Iterator[tuple[str, str]]:
    """Ids and texts of the Parquet table `chunks`, a row group at a time."""
    with pq.ParquetFile(table) as file:
        for batch in file.iter_batches(batch_size=256, columns=["chunk_id", "text"]):
            yield from zip(*(batch.column(name).to_pylist() for name in ("chunk_id", "text")), strict=True)


def discover(texts: Texts, config: Discovered) -> list[list[str]]:
    """Groups of at most `config.max_chunks` chunk ids, in corpus order; a chunk is in one group or, alone, in none."""
    frequency = np.zeros(HASHES, dtype=np.int32)
    for _, text in texts():
        frequency[list(hashed(text))] += 1
    ids: list[str] = []
    rows = TermRows()
    for chunk_id, text in texts():
        counts = hashed(text)
        shared = sorted((key for key in counts if frequency[key] > 1), key=lambda key: (frequency[key], key))
        rows.add({key: counts[key] for key in shared[:TERMS_A_CHUNK]})
        ids.append(chunk_id)
    grown = grow(len(ids), likeness(rows, config.neighbours), config.max_chunks)
    return [[ids[number] for number in group] for group in grown if len(group) > 1]


def hashed(text: str) -> Counter[int]:
    """How often each term, by its hash, is in `text`."""
    return Counter(zlib.crc32(term.encode()) % HASHES for term in terms(text))


def likeness(rows: TermRows, k: int) -> list[tuple[int, int]]:
    """Pairs of chunks of which one is among the k nearest of the other, most alike first.

    BM25 scores are not the same both ways; they are added, so two chunks that are near each other come first.
    """
    counts = rows.matrix(HASHES)
    apart: NDArray[np.int64] = np.arange(size_of(counts)[0])
    scores: Counter[tuple[int, int]] = Counter()
    for ones, twos, found in nearest(counts, apart, k):
        for one, two, score in zip(ones.tolist(), twos.tolist(), found.tolist(), strict=True):
            scores[min(one, two), max(one, two)] += score
    return sorted(scores, key=lambda pair: (-scores[pair], pair))


def grow(count: int, pairs: Iterable[tuple[int, int]], most: int) -> list[list[int]]:
    """`count` singletons joined along `pairs`, in their order, wherever the joint group has at most `most` members."""
    group_of = list(range(count))
    members = [[number] for number in range(count)]
    for one, two in pairs:
        first, second = sorted((group_of[one], group_of[two]), key=lambda group: -len(members[group]))
        if first != second and len(members[first]) + len(members[second]) <= most:
            for number in members[second]:
                group_of[number] = first
            members[first] += members[second]
            members[second] = []
    return sorted(sorted(group) for group in members if group)
