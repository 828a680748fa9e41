"""The paper's published accuracies, to stand beside ours: data in `paper.yaml`, looked up by table and row."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).parent / "paper.yaml"
BENCHMARKS = ("browsecomp_plus", "narrativeqa", "musique")


@cache
def rows() -> tuple[dict[str, Any], ...]:
    """Every row of the file."""
    return tuple(yaml.safe_load(FILE.read_text(encoding="utf-8"))["values"])


@cache
def known() -> frozenset[str]:
    """Every TABLE/EXECUTIVE and TABLE/EXECUTIVE/VARIANT that the file has values for."""
    keys = ((row["table"], row["executive"], row.get("variant", "")) for row in rows())
    return frozenset("/".join(part for part in key if part) for key in keys)


def paper_value(row: str, system: str, benchmark: str) -> float | None:
    """The paper's accuracy in percent of a system kind on a benchmark; None where it is not published.

    `row` is TABLE/EXECUTIVE or TABLE/EXECUTIVE/VARIANT, such as "2/qwen" or "3/qwen/0n".
    """
    table, executive, variant = (*row.split("/"), "", "")[:3]
    for found in rows():
        key = (found["table"], found["executive"], found.get("variant", ""), found["system"])
        if key == (table, executive, variant, system) and benchmark in found:
            return float(found[benchmark])
    return None
