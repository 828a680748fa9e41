"""Every fault is got over: nothing is lost or doubled, and little is done twice. Needs root, and a few minutes."""

from __future__ import annotations

import pytest

from tests.faults import returning
from tests.faults.__main__ import DRILLS, drill
from tests.faults.fleet import can_have_machines

MOST_AGAIN = 0.5
"""Share of the work that a fault may cost: far less than to begin anew, at the third of it where they strike."""

ALL_AGAIN = ("merging-node", "serving-engine")
"""A pass of merges is one piece of work; while the only engine is replaced, every question is told to ask again."""


@pytest.mark.slow
@pytest.mark.parametrize("name", DRILLS)
def test_a_fault_loses_and_doubles_nothing(name: str) -> None:
    if not can_have_machines():
        pytest.skip("needs root, for network namespaces and mounts")
    if name in returning.DRILLS and not returning.can_keep_state():
        pytest.skip(f"needs {returning.PROGRAM}")
    outcome = drill(name)
    assert (outcome.lost, outcome.doubled, outcome.same) == (0, 0, True)
    assert outcome.again <= MOST_AGAIN * outcome.work or name in ALL_AGAIN


def test_the_table_s_rows_are_of_drills_that_there_are() -> None:
    """docs/reliability.md says nothing of a drill that is gone."""
    from tests.faults.__main__ import MARK, PAGE

    _, table, _ = PAGE.read_text(encoding="utf-8").split(MARK)
    rows = [line for line in table.strip().splitlines()[2:] if line]
    assert all(line.count("|") == 9 for line in rows)
    assert len(rows) <= len(DRILLS)
