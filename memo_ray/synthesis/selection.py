"""Which pairs are kept when `max_reflections` allows fewer than there are, and which are rephrased.

Pairs in, the chosen ones in order out; no randomness. Every text that Step 1 read is covered by one direct pair
first, then further direct pairs and the other steps take turns, always evenly over the chunks.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from memo_ray.synthesis.pairs import Pair, plain

Item = TypeVar("Item")
DIRECT_TURNS = 3
"""Direct pairs chosen for each pair of another step, once every text is covered."""


def chosen(pairs: Sequence[Pair], most: int | None) -> list[Pair]:
    """At most `most` of `pairs`, best first as described above; all of them in that order for None."""
    return list(itertools.islice(in_order(pairs), most))


def in_order(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Every pair, in the order in which it is kept."""
    direct: dict[str, list[list[Pair]]] = defaultdict(list)
    others: dict[str, dict[str, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        if pair.step != "direct":
            others[pair.step][pair.chunk_ids[0]].append(pair)
    for chunk, of_chunk in grouped(pair for pair in pairs if pair.step == "direct").items():
        direct[chunk] = layers(of_chunk)
    first = round_robin([layer[0] for layer in direct.values() if layer])
    rest = round_robin([list(itertools.chain(*layer[1:])) for layer in direct.values()])
    derived = round_robin([list(round_robin(list(by_chunk.values()))) for by_chunk in others.values()])
    yield from first
    yield from taking_turns(rest, derived)


def grouped(pairs: Iterable[Pair]) -> dict[str, list[Pair]]:
    """Pairs by their first chunk."""
    found: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        found[pair.chunk_ids[0]].append(pair)
    return found


def layers(pairs: Iterable[Pair]) -> list[list[Pair]]:
    """Direct pairs of one chunk: the first answer of every text, then every second answer, ..., then other wordings."""
    answers: dict[str, dict[str, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for pair in pairs:
        answers[pair.evidence][plain(pair.answer)].append(pair)
    found: list[list[Pair]] = []
    wordings = max((len(asked) for by_answer in answers.values() for asked in by_answer.values()), default=0)
    for wording in range(wordings):
        columns = [
            [asked[wording] for asked in by_answer.values() if len(asked) > wording] for by_answer in answers.values()
        ]
        depth = max(map(len, columns), default=0)
        found += [[column[i] for column in columns if i < len(column)] for i in range(depth)]
    return found


def round_robin(lists: Sequence[Sequence[Item]]) -> Iterator[Item]:
    """The first item of every list, then every second, and so on."""
    missing = object()
    for row in itertools.zip_longest(*lists, fillvalue=missing):
        yield from (item for item in row if item is not missing)  # type: ignore[misc]


def taking_turns(direct: Iterator[Pair], derived: Iterator[Pair]) -> Iterator[Pair]:
    """`DIRECT_TURNS` direct pairs, one of another step, and so on until both end."""
    while True:
        turn = [*itertools.islice(direct, DIRECT_TURNS), *itertools.islice(derived, 1)]
        if not turn:
            return
        yield from turn


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most `most` of `items`, evenly spread over the list, in order."""
    if len(items) <= most:
        return list(items)
    return [items[i * len(items) // most] for i in range(most)]
