"""The table of a comparison: a row a system, a column a corpus, with spread, interval, cost and the paper's value.

Accuracy is the judge's where there is one; else the share of answers that hold a reference (`metrics.recalls`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

from memo_ray.config.comparison import ComparisonConfig, SystemConfig
from memo_ray.evaluation.cost import Spent, spent
from memo_ray.evaluation.official import mean, recall_at
from memo_ray.evaluation.paper import paper_value
from memo_ray.evaluation.significance import Difference, Figure, Scores, corrected, difference, figure
from memo_ray.evaluation.systems.reading import was_cut
from memo_ray.evaluation.systems.running import Ran
from memo_ray.rows import SystemAnswer

UPPER_BOUNDS = frozenset({"perfect_retrieval"})
"""Kinds that see what no system may: never the best of a column."""
Measure = Callable[[SystemAnswer], float | None]
MEASURES: dict[str, Measure] = {
    "accuracy": lambda row: None if row.verdict == "unjudged" else float(right(row)),
    "token_f1": lambda row: row.token_f1,
    "exact_match": lambda row: float(row.exact_match),
    "contained": lambda row: float(row.contained),
}
"""What is shown of every system, each in 0..1; None of what was not judged, which no other measure asks about."""


@dataclass(frozen=True, slots=True)
class CellOf:
    """A system on a corpus. Shares are in 0..1. `paper`: the paper's accuracy in percent; None: not known."""

    figures: dict[str, Figure]
    retrieval_recall: float | None
    support_f1: float | None
    unjudged: int
    failed: int
    cut: int
    """Answers whose context was cut or had passages dropped."""
    cost: Spent
    paper: float | None
    best: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """`cells`: by system and corpus. `differences`: of the accuracies, by corpus, every pair of systems."""

    systems: list[str]
    corpora: list[str]
    judged: bool
    currency: str
    cells: dict[str, dict[str, CellOf]]
    differences: dict[str, list[Difference]] = field(default_factory=dict)


def tabulate(config: ComparisonConfig, runs: Sequence[Ran], answers: Sequence[SystemAnswer]) -> Table:
    """The table of `runs`, whose scored answers are `answers`."""
    systems = [settings.name or settings.kind for settings in config.systems]
    kinds = dict(zip(systems, config.systems, strict=True))
    corpora = list(dict.fromkeys(ran.corpus for ran in runs))
    rows: dict[tuple[str, str], list[SystemAnswer]] = {}
    for row in answers:
        rows.setdefault((row.system, row.corpus), []).append(row)
    cells: dict[str, dict[str, CellOf]] = {name: {} for name in systems}
    for ran in runs:
        cells[ran.system][ran.corpus] = cell(config, ran, rows.get((ran.system, ran.corpus), []), kinds[ran.system])
    differences: dict[str, list[Difference]] = {}
    for corpus in corpora:
        mark_best(cells, corpus, [name for name in systems if kinds[name].kind not in UPPER_BOUNDS])
        by_system = {name: scores(rows.get((name, corpus), []), MEASURES["accuracy"]) for name in systems}
        pairs = (difference(one, other, by_system[one], by_system[other]) for one, other in combinations(systems, 2))
        differences[corpus] = corrected([pair for pair in pairs if pair is not None])
    return Table(systems, corpora, config.judge is not None, config.prices.currency, cells, differences)


def cell(config: ComparisonConfig, ran: Ran, rows: Sequence[SystemAnswer], settings: SystemConfig) -> CellOf:
    """One system on one corpus."""
    found = {name: figure(scores(rows, measure)) for name, measure in MEASURES.items()}
    # A question for which a system found nothing counts, where the system finds something at all.
    retrieves = [row for row in rows if row.evidence] if any(row.retrieved for row in rows) else []
    beside = settings.paper or config.paper
    return CellOf(
        figures={name: value for name, value in found.items() if value is not None},
        retrieval_recall=mean(recall_at(row.retrieved, row.evidence, len(row.retrieved)) for row in retrieves),
        support_f1=mean(row.support_f1 for row in retrieves),
        unjudged=sum(row.verdict == "unjudged" for row in rows),
        failed=sum(map(len, ran.failed.values())),
        cut=sum(was_cut(row.note) for row in rows),
        cost=spent(ran.prepared, rows, config.prices),
        paper=paper_value(beside, settings.kind, ran.corpus) if beside else None,
    )


def right(row: SystemAnswer) -> bool:
    """Whether the judge called it right; without a judge, whether it holds a reference."""
    return row.verdict == "right" if row.verdict else row.recalled


def scores(rows: Sequence[SystemAnswer], measure: Measure) -> Scores:
    """Scores by question and seed; an answer of which `measure` is None has none."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        value = measure(row)
        if value is not None:
            found.setdefault(row.question_id, {})[row.seed] = value
    return found


def mark_best(cells: dict[str, dict[str, CellOf]], corpus: str, systems: Sequence[str]) -> None:
    """Mark the highest accuracy of a column among `systems`; equals are all marked, nothing at 0 is."""
    there = {name: cells[name][corpus].figures for name in systems if corpus in cells[name]}
    means = {name: figures["accuracy"].mean for name, figures in there.items() if "accuracy" in figures}
    highest = max(means.values(), default=0.0)
    for name, value in means.items():
        if value == highest > 0:
            cells[name][corpus] = replace(cells[name][corpus], best=True)
