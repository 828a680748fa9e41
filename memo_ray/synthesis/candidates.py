"""Which pairs Step 5 looks at together, within one group of chunks.

Pairs of a group go in, `Candidate` rows (an anchor pair and pairs of other chunks) come out. `all_pairs` is the
paper's: every unordered pair of pairs of different chunks is visited exactly once, so the number of prompts grows
with the square of the group. `shared_entities` visits only pairs that share a rare name or date.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from memo_ray.config.synthesis import Connections
from memo_ray.rows import content_id
from memo_ray.synthesis.grounding import NUMBER
from memo_ray.synthesis.pairs import Pair
from memo_ray.synthesis.spans import names


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


def propose(group_id: str, by_chunk: dict[str, list[Pair]], config: Connections, batch_size: int) -> list[Candidate]:
    """The candidates of one group: `by_chunk` maps each of its chunks, in order, to that chunk's pairs."""
    total = sum(1 for _ in PROPOSERS[config.candidates](group_id, by_chunk, config, batch_size))
    wanted = range(total)
    if config.max_prompts is not None and total > config.max_prompts:
        wanted = {i * total // config.max_prompts for i in range(config.max_prompts)}
    proposed = PROPOSERS[config.candidates](group_id, by_chunk, config, batch_size)
    return [candidate for number, candidate in enumerate(proposed) if number in wanted]


def all_pairs(
    group_id: str, by_chunk: dict[str, list[Pair]], config: Connections, batch_size: int
) -> Iterator[Candidate]:
    """Each pair as the anchor for batches of the pairs of all later chunks."""
    chunks = list(by_chunk.values())
    for number, anchors in enumerate(chunks):
        later = [pair for pairs in chunks[number + 1 :] for pair in pairs]
        for anchor in anchors:
            yield from batches(group_id, anchor, later, batch_size)


def shared_entities(
    group_id: str, by_chunk: dict[str, list[Pair]], config: Connections, batch_size: int
) -> Iterator[Candidate]:
    """Each pair as the anchor for the pairs of later chunks with which it shares a name or number that is rare.

    Rare: in at least two chunks of the group and at most `rare_in_chunks`. Rarest first, so that the pairs most
    likely to belong together come in the first batch.
    """
    where = {chunk: number for number, chunk in enumerate(by_chunk)}
    holders: dict[str, list[tuple[int, Pair]]] = defaultdict(list)
    marks: dict[str, list[str]] = {}
    for chunk, pairs in by_chunk.items():
        for pair in pairs:
            marks[pair.reflection_id] = entity_marks(pair)
            for mark in marks[pair.reflection_id]:
                holders[mark].append((where[chunk], pair))
    spread = {mark: len({number for number, _ in held}) for mark, held in holders.items()}
    for chunk, pairs in by_chunk.items():
        for anchor in pairs:
            rare = sorted(
                (spread[m], m) for m in marks[anchor.reflection_id] if 2 <= spread[m] <= config.rare_in_chunks
            )
            later = [pair for _, mark in rare for number, pair in holders[mark] if number > where[chunk]]
            unique = {pair.reflection_id: pair for pair in later}
            yield from batches(group_id, anchor, list(unique.values()), batch_size)


def entity_marks(pair: Pair) -> list[str]:
    """The names and numbers by which a pair can be tied to another."""
    text = f"{pair.question} {pair.answer}"
    return list(dict.fromkeys((*names(pair.evidence), *(found.group() for found in NUMBER.finditer(text)))))


def batches(group_id: str, anchor: Pair, others: Iterable[Pair], size: int) -> Iterator[Candidate]:
    """Candidates with at most `size` others each."""
    listed = list(others)
    for i in range(0, len(listed), size):
        yield Candidate(group_id, anchor, tuple(listed[i : i + size]))


PROPOSERS = {"all_pairs": all_pairs, "shared_entities": shared_entities}
