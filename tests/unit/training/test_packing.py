"""Steps, shares and rows, as arithmetic on lengths."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memo_ray.training.packing import Layout, share_out, steps_of_epoch

LENGTHS = [28, 61, 45, 33, 52, 47, 39, 58, 30, 44, 51, 36, 49, 42, 55, 40]


def test_every_example_comes_once_an_epoch_in_another_order_each_time() -> None:
    first, again, second = (steps_of_epoch(10, 4, 42, epoch) for epoch in (0, 0, 1))
    assert [len(step) for step in first] == [4, 4, 2]
    assert sorted(index for step in first for index in step) == list(range(10))
    assert first == again
    assert first != second
    assert first != steps_of_epoch(10, 4, 43, 0)


@given(
    st.lists(st.integers(2, 90), min_size=1, max_size=40),
    st.integers(1, 4),
    st.integers(16, 400),
    st.integers(16, 1000),
    st.booleans(),
)
def test_a_step_is_shared_out_whole_and_within_its_limits(
    lengths: list[int], workers: int, row_tokens: int, at_once: int, packed: bool
) -> None:
    shares = share_out(range(len(lengths)), lengths, Layout(row_tokens, at_once, packed), workers)
    assert len(shares) == workers
    assert len({len(batches) for batches in shares}) == 1, "every worker must take as many backward passes"
    placed = [index for batches in shares for batch in batches for row in batch for index in row]
    assert sorted(placed) == list(range(len(lengths)))
    for batches in shares:
        for batch in batches:
            width = max((sum(lengths[index] for index in row) for row in batch), default=0)
            assert width <= max(row_tokens, *lengths)
            assert len(batch) <= 1 or len(batch) * width <= max(at_once, width)
            assert packed or all(len(row) == 1 for row in batch)


def test_packed_rows_are_almost_without_padding() -> None:
    ((batch,),) = share_out(range(16), LENGTHS, Layout(192, 4096), 1)
    width = max(sum(LENGTHS[index] for index in row) for row in batch)
    assert len(batch) == 4
    assert len(batch) * width <= 1.03 * sum(LENGTHS)


def test_workers_get_as_many_tokens_each() -> None:
    loads = [
        sum(LENGTHS[index] for batch in batches for row in batch for index in row)
        for batches in share_out(range(16), LENGTHS, Layout(128, 4096), 2)
    ]
    assert loads[0] == pytest.approx(loads[1], rel=0.05)


def test_a_worker_without_examples_keeps_step_with_the_others() -> None:
    shares = share_out([0], [30], Layout(128, 4096), 3)
    assert [[len(batch) for batch in batches] for batches in shares] == [[1], [0], [0]]
    shares = share_out([0], [30], Layout(128, 4096, packed=False), 3)
    assert [[len(batch) for batch in batches] for batches in shares] == [[1], [0], [0]]


def test_packed_and_padded_steps_hold_the_same_examples() -> None:
    step = steps_of_epoch(16, 8, 1, 0)[0]
    packed, padded = (
        Counter(index for batches in share_out(step, LENGTHS, Layout(128, 300, flag), 2) for batch in batches
                for row in batch for index in row)
        for flag in (True, False)
    )  # fmt: skip
    assert packed == padded == Counter(step)
