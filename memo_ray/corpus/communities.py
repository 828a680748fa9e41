"""Discovers groups in the texts: chunks that are alike, put together nearest first, up to a size.

Chunk texts in, lists of chunk ids out; the texts are never held. By embedding, they are read once and a vector each is
kept. By words they are read twice: once to count in how many chunks each term is, once to keep every chunk's rarest
terms, about a kilobyte each. Terms are counted by a 20-bit hash, so that
the memory does not grow with the vocabulary; two terms with one hash count as one, which only makes them less rare.
"""

from __future__ import annotations

import itertools
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from memo_ray.config.corpus import CorpusConfig, Discovered
from memo_ray.corpus.bm25 import TermRows, size_of
from memo_ray.corpus.neighbours import nearest
from memo_ray.corpus.vectors import Vectors, identity, nearest_vectors, text_vectors, vectors_of_long
from memo_ray.corpus.words import terms

HASHES = 1 << 20
TERMS_A_CHUNK = 128
"""The rarest terms of a chunk that another chunk has too: what it can be found by."""

EMBEDDED_AT_ONCE = 64
"""Chunks whose texts are held together on their way to the encoder."""

Near = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Rows, their neighbours and scores."""
Texts = Callable[[], Iterable[tuple[str, str]]]
"""Gives every chunk's id and text, in corpus order, as often as it is called."""


def chunk_texts(table: Path) -> Iterator[tuple[str, str]]:
    """Ids and texts of the Parquet table `chunks`, a row group at a time."""
    with pq.ParquetFile(table) as file:
        for batch in file.iter_batches(batch_size=256, columns=["chunk_id", "text"]):
            yield from zip(*(batch.column(name).to_pylist() for name in ("chunk_id", "text")), strict=True)


def semantics(config: CorpusConfig) -> dict[str, Any]:
    """What a fingerprint holds of `discovered`: nothing where no group is, and an encoder by its content."""
    if "discovered" not in config.group_kinds:
        return {}
    encoder = config.discovered.encoder
    held = {} if encoder is None else {"encoder": identity(encoder, "discovered.encoder")}
    return config.discovered.model_dump(mode="json", exclude={"encoder"}) | held


def discover(texts: Texts, config: Discovered) -> list[list[str]]:
    """Groups of at most `config.max_chunks` chunk ids, in corpus order; a chunk is in one group or, alone, in none."""
    ids, near = (by_words if config.encoder is None else by_embedding)(texts, config)
    grown = grow(len(ids), likeness(near), config.max_chunks)
    return [[ids[number] for number in group] for group in grown if len(group) > 1]


def by_words(texts: Texts, config: Discovered) -> tuple[list[str], Iterable[Near]]:
    """The chunks' ids, and for each chunk the nearest by BM25 over its rarest terms."""
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
    counts = rows.matrix(HASHES)
    return ids, nearest(counts, np.arange(size_of(counts)[0]), config.neighbours)


def by_embedding(texts: Texts, config: Discovered) -> tuple[list[str], Iterable[Near]]:
    """The chunks' ids, and for each chunk the nearest by the cosine of their vectors."""
    assert config.encoder is not None  # the caller has looked
    ids: list[str] = []
    found: list[Vectors] = []
    with text_vectors(config.encoder, "discovered.encoder") as embed:
        for batch in batches(texts()):
            ids += [chunk_id for chunk_id, _ in batch]
            found.append(vectors_of_long([text for _, text in batch], embed))
    vectors = np.concatenate(found) if found else np.zeros((0, 1), np.float32)
    return ids, nearest_vectors(vectors, np.arange(len(ids)), config.neighbours)


def batches(rows: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    """The rows, `EMBEDDED_AT_ONCE` at a time."""
    following = iter(rows)
    while batch := list(itertools.islice(following, EMBEDDED_AT_ONCE)):
        yield batch


def hashed(text: str) -> Counter[int]:
    """How often each term, by its hash, is in `text`."""
    return Counter(zlib.crc32(term.encode()) % HASHES for term in terms(text))


def likeness(near: Iterable[Near]) -> list[tuple[int, int]]:
    """Pairs of chunks of which one is among the nearest of the other, most alike first.

    The scores of both ways are added, so two chunks that are near each other come first.
    """
    scores: Counter[tuple[int, int]] = Counter()
    for ones, twos, found in near:
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
