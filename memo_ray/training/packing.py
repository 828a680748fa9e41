"""Which reflections a step holds, and how they lie in the workers' sequences. Pure arithmetic on lengths.

A step is a fixed number of reflections of a seeded shuffle, over all workers together; only inside a step are they
shared out and packed. So packed and unpacked runs, on any number of workers, take the same steps on the same examples.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Row = list[int]
"""Indices of the examples that lie behind one another in one sequence."""
MicroBatch = list[Row]
"""Rows that are computed at once; none, for a worker that has less to do in a step than the others."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How examples become micro-batches. `row_tokens`: tokens of a packed row, unless one example is longer.

    `micro_batch_tokens`: tokens computed at once, one row at least. Without `packed` a row is one example.
    """

    row_tokens: int
    micro_batch_tokens: int
    packed: bool = True


def steps_of_epoch(examples: int, per_step: int, seed: int, epoch: int) -> list[list[int]]:
    """The examples of every step of `epoch` (from 0). Each comes once an epoch; the last step may be smaller."""
    order = np.random.default_rng([seed, epoch]).permutation(examples).tolist()
    return [order[start : start + per_step] for start in range(0, examples, per_step)]


def share_out(step: Sequence[int], lengths: Sequence[int], layout: Layout, workers: int) -> list[list[MicroBatch]]:
    """The micro-batches of each worker for the examples `step`, equally many for all and balanced by tokens.

    `lengths`: tokens of every example, by index.
    """
    longest_first = sorted(step, key=lambda index: (-lengths[index], index))
    share = _packed if layout.packed else _padded
    return share(longest_first, lengths, layout, workers)


def _packed(order: list[int], lengths: Sequence[int], layout: Layout, workers: int) -> list[list[MicroBatch]]:
    capacity = max(layout.row_tokens, lengths[order[0]])
    rows_at_once = max(1, layout.micro_batch_tokens // capacity)
    needed = -(-sum(lengths[index] for index in order) // capacity)
    while True:
        batches = -(-needed // (workers * rows_at_once))
        groups = workers * batches
        # Equally many rows in every micro-batch: rows of one length then need almost no padding.
        rows = _spread(order, lengths, groups * -(-needed // groups))
        if max(sum(lengths[index] for index in row) for row in rows) <= capacity:
            break
        needed = len(rows) + 1
    dealt: list[list[MicroBatch]] = [[[] for _ in range(batches)] for _ in range(workers)]
    for place, row in enumerate(rows):
        if row:
            dealt[place % workers][place // workers % batches].append(row)
    return dealt


def _spread(order: list[int], lengths: Sequence[int], rows: int) -> list[Row]:
    """Each example, the longest first, to the row with the fewest tokens so far."""
    found: list[Row] = [[] for _ in range(rows)]
    loads = [(0, place) for place in range(rows)]
    for index in order:
        load, place = loads[0]
        found[place].append(index)
        heapq.heapreplace(loads, (load + lengths[index], place))
    return found


def _padded(order: list[int], lengths: Sequence[int], layout: Layout, workers: int) -> list[list[MicroBatch]]:
    """Rows of one example; neighbours in length share a micro-batch and are padded to its longest."""
    found: list[list[MicroBatch]] = []
    for worker in range(workers):
        mine, batches = order[worker::workers], []
        while mine:
            rows = max(1, layout.micro_batch_tokens // lengths[mine[0]])
            batches.append([[index] for index in mine[:rows]])
            mine = mine[rows:]
        found.append(batches)
    most = max(map(len, found))
    return [[*batches, *([] for _ in range(most - len(batches)))] for batches in found]
