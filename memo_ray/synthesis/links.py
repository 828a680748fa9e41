"""Which pairs of one group may be connected at all: each link is two pairs of different chunks, found once.

A `TermTable` goes in, `Links` come out. Three ways lead to a link, and the work and the number of links of each grow
with the number of pairs, not with its square:

    rare entity     all pairs that hold it are linked with one another
    hub entity      held by too many; every holder is linked with its nearest holders by the words beside the hub
    no entity       every pair is linked with its nearest pairs, by BM25 or by an encoder's vectors

A hub is split by context: the word `lamp` may be common in a group and London as well, but few pairs hold both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array

from memo_ray.config.synthesis import Connections
from memo_ray.corpus.bm25 import size_of
from memo_ray.corpus.neighbours import nearest
from memo_ray.corpus.vectors import Vectors, nearest_vectors
from memo_ray.synthesis.terms import TermTable

HUB_ENTRIES = 8_000_000
"""Words beside hubs that are looked at together; bounds the memory."""
SCORES = 1 << 14
"""More than any score of `nearest`, so that ranks of one way never reach into those of the next."""

Found = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""One end of links, the other end, and their rank: lower is shown first."""


@dataclass(frozen=True)
class Links:
    """Links by the numbers of their pairs: `anchors[i] < others[i]`, in the order in which they are shown.

    Anchors ascend; the others of one anchor come with the rarest shared entity first, then by hubs, then by words.
    """

    anchors: NDArray[np.int64]
    others: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.anchors)

    def rows(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Every anchor with its others."""
        starts = np.flatnonzero(np.diff(self.anchors, prepend=-1))
        for start, end in zip(starts, [*starts[1:], len(self)], strict=False):
            yield int(self.anchors[start]), self.others[start:end]


def link(table: TermTable, config: Connections, vectors: Vectors | None = None) -> Links:
    """The links of one group's pairs. `vectors`: theirs, for neighbours by embedding; none: neighbours by words."""
    hubs = (table.spread > config.rare_in_chunks) | (holders_of(table) > config.rare_in_pairs)
    found = [
        *rare_links(table, (table.spread > 1) & ~hubs),
        *hub_links(table, np.flatnonzero((table.spread > 1) & hubs), config.hub_neighbours),
        *near_links(table, config.neighbours, vectors),
    ]
    return each_once(found, len(table.chunks))


def holders_of(table: TermTable) -> NDArray[np.int64]:
    """How many pairs hold each entity."""
    return np.bincount(table.entities.indices, minlength=len(table.entity_names))


def rare_links(table: TermTable, rare: NDArray[np.bool_]) -> Iterator[Found]:
    """All pairs of different chunks that share an entity of `rare`, ranked by its spread, then its name."""
    columns = np.flatnonzero(rare)
    ranked = sorted(columns, key=lambda column: (table.spread[column], table.entity_names[column]))
    holders = csc_array(table.entities)
    sizes = np.diff(holders.indptr)[ranked]
    for size in np.unique(sizes):
        ranks = np.flatnonzero(sizes == size)
        starts = holders.indptr[np.asarray(ranked)[ranks]]
        held = holders.indices[starts[:, None] + np.arange(size)].astype(np.int64)
        first, second = np.triu_indices(size, 1)
        one, two = held[:, first].ravel(), held[:, second].ravel()
        apart = table.chunks[one] != table.chunks[two]
        yield one[apart], two[apart], np.repeat(ranks, len(first))[apart]


def hub_links(table: TermTable, hubs: NDArray[np.int64], k: int) -> Iterator[Found]:
    """Every holder of a hub with its k nearest holders by the words beside the hub."""
    holders = csc_array(table.entities)
    held = np.diff(table.words.indptr)
    entries = np.array([held[holders.indices[slice(*holders.indptr[[h, h + 1]])]].sum() for h in hubs], dtype=np.int64)
    for batch in np.split(hubs, np.flatnonzero(np.diff(entries.cumsum() // HUB_ENTRIES)) + 1):
        if k and len(batch):
            yield from _nearest_holders(table, holders, batch, k)


def _nearest_holders(table: TermTable, holders: csc_array, hubs: NDArray[np.int64], k: int) -> Iterator[Found]:
    """All hubs of a batch at once: a column is a word beside a hub, so no two hubs have a column in common."""
    pairs = np.concatenate([holders.indices[slice(*holders.indptr[[hub, hub + 1]])] for hub in hubs])
    sizes = np.diff(holders.indptr)[hubs]
    words: Any = table.words[pairs]
    width = size_of(table.words)[1]
    hub_of = np.repeat(np.repeat(np.arange(len(hubs)), sizes), np.diff(words.indptr))
    keys, columns = np.unique(hub_of * width + words.indices, return_inverse=True)
    beside = csr_array((words.data, columns, words.indptr), shape=(len(pairs), len(keys)))
    population = sizes[keys // width]
    for one, two, score in nearest(beside, table.chunks[pairs], k, population):
        yield pairs[one].astype(np.int64), pairs[two].astype(np.int64), len(table.entity_names) + SCORES - score


def near_links(table: TermTable, k: int, vectors: Vectors | None) -> Iterator[Found]:
    """Every pair with its k nearest pairs of other chunks, by the cosine of their vectors or else by BM25."""
    by_words = vectors is None
    found = nearest(table.words, table.chunks, k) if by_words else nearest_vectors(vectors, table.chunks, k)
    for one, two, score in found:
        yield one, two, len(table.entity_names) + 2 * SCORES - score


def each_once(found: list[Found], total: int) -> Links:
    """Every link once, by its lower pair and with its lowest rank."""
    ends = [np.concatenate([part[i] for part in found]) if found else np.empty(0, np.int64) for i in range(3)]
    keys = np.minimum(ends[0], ends[1]) * total + np.maximum(ends[0], ends[1])
    order = np.lexsort((ends[2], keys))
    keys, ranks = keys[order], ends[2][order]
    first = np.diff(keys, prepend=-1) > 0
    keys, ranks = keys[first], ranks[first]
    anchors, others = keys // max(total, 1), keys % max(total, 1)
    shown = np.lexsort((others, ranks, anchors))
    return Links(anchors[shown], others[shown])
