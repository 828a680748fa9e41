"""The page of an experiment: one table over all of its runs, as the paper prints them, and curves over those of its
axes that are numbers (epochs, noise, a corpus's size).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memo_ray.evaluation.report.highlights import Chart, chart_of
from memo_ray.evaluation.report.report import environment

NUMBER = re.compile(r"\d+(?:\.\d+)?[nx]?")
"""A variant that is a number: an epoch, as in `3`, or a multiple, as in `2n` and `16x`."""
GROWS = "size"
"""The axis over which what a question costs is drawn, too."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Spot:
    """A system on a corpus, in percent; `paper`: the paper's value; `note`: how many answers the figure leaves out."""

    mean: float
    std: float | None
    paper: float | None
    best: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Pivot:
    """`rows`: the labels of a row and its spots, one a column; None where its run has not finished."""

    heads: list[str]
    corpora: list[str]
    rows: list[tuple[list[str], list[Spot | None]]]


def render_experiment(title: str, axes: Sequence[str], rows: Sequence[Row], pages: Mapping[str, str]) -> str:
    """The page. `rows` as `gather` gives them; `pages`: a run's labels to the address of its own page."""
    made = [row for row in rows if "missing" not in row]
    page = {
        "title": title,
        "table": pivot(axes, made),
        "charts": curves(axes, made),
        "missing": [row["missing"] for row in rows if "missing" in row],
        "pages": pages,
    }
    return environment().get_template("experiment.html").render(page)


def pivot(axes: Sequence[str], rows: Sequence[Row]) -> Pivot:
    """Systems and what was varied down, corpora across.

    In bold is the best of a column among the systems of one run; where there is one system, among all runs.
    """
    corpora = list(dict.fromkeys(row["corpus"] for row in rows))
    kept = varied(axes, rows)
    alone = len({row["system"] for row in rows}) == 1
    highest = {name: max((mean_of(row) for row in rows if row["corpus"] == name), default=0.0) for name in corpora}
    found: dict[tuple[str, ...], dict[str, Spot]] = {}
    for row in rows:
        if row.get("accuracy_mean") is None:
            continue
        best = mean_of(row) == highest[row["corpus"]] > 0 if alone else bool(row["best"])
        std, paper = row.get("accuracy_std"), row.get("paper_accuracy")
        spot = Spot(
            mean=100 * mean_of(row), std=None if std is None else 100 * std,
            paper=None if paper is None else 100 * paper, best=best, note=left_out(row),
        )  # fmt: skip
        found.setdefault((*(row[axis] for axis in kept), row["system"]), {})[row["corpus"]] = spot
    lines = [(list(labels), [spots.get(name) for name in corpora]) for labels, spots in found.items()]
    return Pivot([*kept, "system"], corpora, lines)


def left_out(row: Row) -> str:
    """What to say beside a figure that does not rest on all questions; else empty."""
    counts = {name: int(row.get(name) or 0) for name in ("failed", "unjudged")}
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
    return f"of {row['questions']:,} questions; {said}" if said else ""


def varied(axes: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """The axes with several variants on one corpus; another one only says which corpus it is."""
    found = []
    for axis in axes:
        by_corpus: dict[str, set[str]] = {}
        for row in rows:
            by_corpus.setdefault(row["corpus"], set()).add(row[axis])
        if any(len(labels) > 1 for labels in by_corpus.values()):
            found.append(axis)
    return found


def curves(axes: Sequence[str], rows: Sequence[Row]) -> list[Chart]:
    """Accuracy over every axis of numbers, a chart a corpus; over a corpus's size also the tokens of a question."""
    charts = []
    kept = varied(axes, rows)
    systems = {row["system"] for row in rows}
    for axis in (axis for axis in kept if all(NUMBER.fullmatch(row[axis]) for row in rows)):
        others = [name for name in kept if name != axis]
        for number, corpus in enumerate(dict.fromkeys(row["corpus"] for row in rows)):
            accuracy: dict[str, list[tuple[float, float]]] = {}
            tokens: dict[str, list[tuple[float, float]]] = {}
            for row in (row for row in rows if row["corpus"] == corpus and row.get("accuracy_mean") is not None):
                labels = [*(row[name] for name in others), *([row["system"]] if len(systems) > 1 or not others else [])]
                x = float(row[axis].rstrip("nx"))
                name = " / ".join(labels)
                accuracy.setdefault(name, []).append((x, mean_of(row)))
                tokens.setdefault(name, []).append((x, row["input_tokens"] + row["output_tokens"]))
            drawn = f"{axis}-{number}"
            charts.append(
                chart_of(drawn, f"Accuracy by {axis} on {corpus}", in_order(accuracy), axis, "accuracy", shares=True)
            )
            if axis == GROWS:
                caption = f"Tokens of a question by {axis} of {corpus}"
                charts.append(chart_of(f"{drawn}-tokens", caption, in_order(tokens), axis, "tokens a question"))
    return charts


def in_order(series: Mapping[str, list[tuple[float, float]]]) -> dict[str, list[tuple[float, float]]]:
    """Each series from left to right."""
    return {name: sorted(points) for name, points in series.items()}


def mean_of(row: Row) -> float:
    """A row's accuracy in 0..1; 0 where nothing was judged."""
    return float(row.get("accuracy_mean") or 0.0)
