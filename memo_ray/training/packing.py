"""Which reflections a step holds, and how they lie in its sequences.

A step is the recipe's number of reflections of a seeded shuffle, over all workers together; only inside a step
are they shared out and packed, so packed and unpacked runs take the same steps on the same examples.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from memo_ray.training.examples import Example

IGNORED = -100
"""The label of a token without a loss, as PyTorch's cross entropy names it."""


@dataclass(frozen=True, slots=True)
class Sequences:
    """Rows of one micro-batch, all of one length. Positions restart with every example, so that none sees another.

    `tokens`, `positions`, `labels`: lists of shape (rows, length). A label is the token itself where it belongs
    to an answer, else IGNORED. The padding at the end of a row is an example of its own without a loss.
    """

    tokens: list[list[int]]
    positions: list[list[int]]
    labels: list[list[int]]


def steps_of_epoch(examples: int, per_step: int, seed: int, epoch: int) -> list[list[int]]:
    """Indices of the examples of every step; the last step may be smaller. Each example comes once an epoch."""
    order = list(range(examples))
    random.Random(f"{seed}/{epoch}").shuffle(order)
    return [order[start : start + per_step] for start in range(0, examples, per_step)]


def shares(lengths: Sequence[int], workers: int) -> list[list[int]]:
    """Positions in `lengths` for each worker, balanced by tokens: the longest first, to the least loaded."""
    loads, found = [0] * workers, [[] for _ in range(workers)]
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        worker = loads.index(min(loads))
        found[worker].append(place)
        loads[worker] += lengths[place]
    return found


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Rows of positions in `lengths`, each of at most `capacity` tokens: best fit, the longest first."""
    rows: list[list[int]] = []
    room: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        fitting = [row for row, free in enumerate(room) if free >= lengths[place]]
        if fitting:
            row = min(fitting, key=lambda row: room[row])
        else:
            row = len(rows)
            rows.append([])
            room.append(max(capacity, lengths[place]))
        rows[row].append(place)
        room[row] -= lengths[place]
    return rows


def micro_batches(
    examples: Sequence[Example], capacity: int, tokens: int, pad: int, *, packing: bool
) -> list[Sequences]:
    """One worker's examples of one step as micro-batches of at most `tokens` tokens (one row at least).

    `capacity`: tokens of a packed row. Without packing a row holds one example, padded to its micro-batch's longest.
    """
    lengths = [len(example.tokens) for example in examples]
    rows = pack(lengths, capacity) if packing else [[n] for n in sorted(range(len(lengths)), key=lambda n: -lengths[n])]
    width = max((sum(lengths[n] for n in row) for row in rows), default=1)
    per_batch = max(1, tokens // width)
    return [layout([[examples[n] for n in row] for row in rows[at : at + per_batch]], pad) for at in range(0, len(rows), per_batch)]


def layout(rows: Sequence[Sequence[Example]], pad: int) -> Sequences:
    """Rows of examples as equally long lists of token ids, positions and labels."""
    width = max(sum(len(example.tokens) for example in row) for row in rows)
    found = Sequences([], [], [])
    for row in rows:
        tokens = [token for example in row for token in example.tokens]
        free = width - len(tokens)
        found.tokens.append(tokens + [pad] * free)
        found.positions.append([place for e in row for place in range(len(e.tokens))] + list(range(free)))
        found.labels.append([label for example in row for label in _labels(example)] + [IGNORED] * free)
    return found


def empty(pad: int) -> Sequences:
    """A micro-batch without a loss, for a worker that has fewer than the others in a step."""
    return Sequences([[pad]], [[0]], [[IGNORED]])


def _labels(example: Example) -> list[int]:
    return [IGNORED] * example.answer_start + list(example.tokens[example.answer_start :])
