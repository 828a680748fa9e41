"""Which pairs Step 5 looks at together, within the groups of a corpus.

The pairs of a group's chunks go in, `Candidate` rows (an anchor pair and pairs of other chunks) come out, one group
after the other. `all_pairs` is the paper's: its prompts grow with the square of the group. `shared_entities` shows only
pairs that can be connected (`links.py`). Either way no unordered pair of pairs is visited twice, nor in two groups.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from memo_ray.config.synthesis import Connections
from memo_ray.corpus.vectors import Embed, text_vectors
from memo_ray.rows import Group, content_id
from memo_ray.synthesis.links import link
from memo_ray.synthesis.pairs import Pair
from memo_ray.synthesis.terms import term_table


@dataclass(frozen=True, slots=True)
class Candidate:
    """One anchor pair with pairs of other chunks of its group."""

    group_id: str
    anchor: Pair
    others: tuple[Pair, ...]

    @property
    def candidate_id(self) -> str:
        """A hash of the group and of the pairs in their order."""
        return content_id("candidate", self.group_id, *(pair.reflection_id for pair in (self.anchor, *self.others)))


@dataclass(frozen=True)
class Members:
    """The pairs of one group in the order of its chunks, a pair that several chunks have only in the first.

    `chunks[i]` is the number of pair i's chunk. `elsewhere(a, b)` tells whether an earlier group holds both of the
    chunks a and b, and so has visited their pairs.
    """

    group_id: str
    pairs: list[Pair]
    chunks: list[int]
    elsewhere: Callable[[int, int], bool]
    overlaps: bool

    @classmethod
    def of(cls, group: Group, offered: Mapping[str, list[Pair]], earlier: Mapping[str, set[int]]) -> Members:
        """`offered`: the pairs of every chunk. `earlier`: the numbers of the groups before this one, by chunk."""
        ids = list(group.chunk_ids)
        unique: dict[str, tuple[Pair, int]] = {}
        for number, chunk_id in enumerate(ids):
            for pair in offered.get(chunk_id, ()):
                unique.setdefault(pair.reflection_id, (pair, number))

        def elsewhere(one: int, two: int) -> bool:
            return not earlier.get(ids[one], set()).isdisjoint(earlier.get(ids[two], set()))

        pairs, chunks = [pair for pair, _ in unique.values()], [number for _, number in unique.values()]
        return cls(group.group_id, pairs, chunks, elsewhere, any(chunk_id in earlier for chunk_id in ids))


Row = tuple[int, Sequence[int]]
"""The number of an anchor pair and those of the others it is looked at with."""


def proposals(
    groups: Iterable[Group], offered: Mapping[str, list[Pair]], config: Connections, batch_size: int
) -> Iterator[Candidate]:
    """The candidates of all groups, one after the other; `offered` maps a chunk's id to its pairs.

    Only one group's links are held at a time: some 50 bytes for each pair of pairs that is proposed.
    """
    with encoder_of(config) as embed:
        for members in membership(groups, offered):
            yield from propose(members, config, batch_size, embed)


@contextmanager
def encoder_of(config: Connections) -> Iterator[Embed | None]:
    """What makes vectors of pairs while the block lasts; None where neighbours are found by words."""
    if config.encoder is None:
        yield None
        return
    with text_vectors(config.encoder, "synthesis.connections.encoder") as embed:
        yield embed


def membership(groups: Iterable[Group], offered: Mapping[str, list[Pair]]) -> Iterator[Members]:
    """The pairs of every group, with what the groups before it have visited."""
    earlier: dict[str, set[int]] = defaultdict(set)
    for number, group in enumerate(groups):
        yield Members.of(group, offered, earlier)
        for chunk_id in group.chunk_ids:
            earlier[chunk_id].add(number)


def propose(members: Members, config: Connections, batch_size: int, embed: Embed | None = None) -> Iterator[Candidate]:
    """The candidates of one group, at most `config.max_prompts` of them, evenly spread."""
    rows = ROWS[config.candidates](members, config, embed)
    wanted = even_spread(prompts_of(rows, batch_size), config.max_prompts)
    number, following = 0, next(wanted, None)
    for anchor, others in rows:
        batches = -(-len(others) // batch_size)
        while following is not None and following < number + batches:
            start = (following - number) * batch_size
            shown = tuple(members.pairs[other] for other in others[start : start + batch_size])
            yield Candidate(members.group_id, members.pairs[anchor], shown)
            following = next(wanted, None)
        number += batches


def count_prompts(
    groups: Iterable[Group], offered: Mapping[str, list[Pair]], config: Connections, batch_size: int
) -> int:
    """How many candidates `proposals` gives, without making them."""
    most = config.max_prompts
    with encoder_of(config) as embed:
        rows = (ROWS[config.candidates](members, config, embed) for members in membership(groups, offered))
        counts = (prompts_of(found, batch_size) for found in rows)
        return sum(count if most is None else min(count, most) for count in counts)


def prompts_of(rows: Iterable[Row], batch_size: int) -> int:
    """Batches that `rows` make."""
    return sum(-(-len(others) // batch_size) for _, others in rows)


def even_spread(total: int, most: int | None) -> Iterator[int]:
    """At most `most` of the numbers below `total`, ascending, evenly spread."""
    taken = total if most is None else min(total, most)
    return (i * total // taken for i in range(taken))


class AllPairs:
    """Each pair as the anchor for the pairs of all later chunks (paper, Section 4.1 and Appendix D)."""

    def __init__(self, members: Members, config: Connections, embed: Embed | None) -> None:
        self._members = members

    def __iter__(self) -> Iterator[Row]:
        chunks = self._members.chunks
        others: Sequence[int] = ()
        for anchor, chunk in enumerate(chunks):
            if not anchor or chunks[anchor - 1] != chunk:
                others = range(bisect_right(chunks, chunk), len(chunks))
                if self._members.overlaps:
                    others = [other for other in others if not self._members.elsewhere(chunk, chunks[other])]
            yield anchor, others


class SharedEntities:
    """Each pair as the anchor for the later pairs that it is linked with."""

    def __init__(self, members: Members, config: Connections, embed: Embed | None) -> None:
        self._members = members
        vectors = None
        if embed is not None and members.pairs:
            vectors = embed([f"{pair.question} {pair.answer}" for pair in members.pairs])
        self._links = link(term_table(members.pairs, members.chunks, config.short_names), config, vectors)

    def __iter__(self) -> Iterator[Row]:
        chunks = self._members.chunks
        for anchor, others in self._links.rows():
            listed = others.tolist()
            if self._members.overlaps:
                listed = [o for o in listed if not self._members.elsewhere(chunks[anchor], chunks[o])]
            yield anchor, listed


ROWS: dict[str, Callable[[Members, Connections, Embed | None], Iterable[Row]]] = {
    "all_pairs": AllPairs,
    "shared_entities": SharedEntities,
}
"""The values of `synthesis.connections.candidates`."""
