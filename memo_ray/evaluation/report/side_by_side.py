"""The page of a comparison: systems against corpora, what sets them apart, cost, and their answers side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memo_ray.errors import ProtocolError
from memo_ray.evaluation.asked import KINDS, evenly
from memo_ray.evaluation.losses import LOST
from memo_ray.evaluation.official import mean
from memo_ray.evaluation.report.exports import as_csv, as_json, as_latex, percent
from memo_ray.evaluation.report.highlights import Chart, chart_of
from memo_ray.evaluation.report.report import environment
from memo_ray.evaluation.tabulation import Table, right
from memo_ray.protocol.describe import describe
from memo_ray.rows import Reject, SystemAnswer

SHOWN_QUESTIONS = 60
SHOWN_REJECTS = 24
SHOWN_DOCUMENTS = 9
FILES = {"comparison.csv": as_csv, "comparison.json": as_json, "comparison.tex": as_latex}


@dataclass(frozen=True, slots=True)
class Voice:
    """What one system said to a question, under its first seed, and how often it was right under all of them.

    `lost`: the step that lost it, where it is wrong. `lines`: its transcript in words, where it has one.
    """

    system: str
    answer: str
    right: int
    judged: int
    reason: str
    note: str
    retrieved: list[str]
    lost: str
    lines: list[str]


@dataclass(frozen=True, slots=True)
class Counted:
    """Counts or shares of a corpus's answers: a row a system, a value a column; None where there is nothing to count.

    `notes`: what stands beneath each column's name.
    """

    columns: list[str]
    notes: list[str]
    rows: dict[str, list[float | None]]


@dataclass(frozen=True, slots=True)
class Browsed:
    """One question with what every system said; `right`: systems that were right at least once."""

    question: str
    kind: str
    references: list[str]
    evidence: list[str]
    voices: list[Voice]
    right: int


def browse(answers: Sequence[SystemAnswer], most: int = SHOWN_QUESTIONS) -> dict[str, list[Browsed]]:
    """By corpus, an even spread of questions: those on which the systems disagree first."""
    by_question: dict[tuple[str, str], dict[str, list[SystemAnswer]]] = {}
    for row in answers:
        by_question.setdefault((row.corpus, row.question_id), {}).setdefault(row.system, []).append(row)
    found: dict[str, list[Browsed]] = {}
    for (corpus, _), systems in by_question.items():
        voices = [voice(name, rows) for name, rows in systems.items()]
        first = next(iter(systems.values()))[0]
        right = sum(one.right > 0 for one in voices)
        found.setdefault(corpus, []).append(
            Browsed(first.question, first.kind, first.references, first.evidence, voices, right)
        )
    for corpus, rows in found.items():
        apart = [row for row in rows if 0 < row.right < len(row.voices)]
        alike = [row for row in rows if not 0 < row.right < len(row.voices)]
        found[corpus] = [*evenly(apart, most), *evenly(alike, max(0, most - len(apart)))]
    return found


def voice(system: str, rows: Sequence[SystemAnswer]) -> Voice:
    """One system's answers to a question."""
    judged = [row for row in rows if row.verdict != "unjudged"]
    return Voice(
        system=system,
        answer=rows[0].answer,
        right=sum(right(row) for row in judged),
        judged=len(judged),
        reason=rows[0].reason,
        note=rows[0].note,
        retrieved=listed(rows[0].retrieved),
        lost=rows[0].lost,
        lines=told(rows[0].transcript),
    )


def listed(documents: Sequence[str]) -> list[str]:
    """The first of `documents`, and how many more there are: a whole corpus is no list to read."""
    more = len(documents) - SHOWN_DOCUMENTS
    return [*documents[:SHOWN_DOCUMENTS], *([f"{more} more"] if more > 0 else [])]


def told(transcript: str) -> list[str]:
    """A transcript in words; nothing of none."""
    try:
        return list(describe(transcript.splitlines())) if transcript else []
    except ProtocolError as error:
        # Written by another version of the protocol: the answer is worth showing without its stages.
        return [f"(its transcript cannot be shown: {error})"]


def losses(answers: Sequence[SystemAnswer]) -> dict[str, Counted]:
    """By corpus, how many wrong answers each step of each system lost, under all seeds."""
    found: dict[str, dict[str, Counter[str]]] = {}
    for row in answers:
        counts = found.setdefault(row.corpus, {}).setdefault(row.system, Counter())
        counts.update([row.lost] if row.lost else [])
    tables = {}
    for corpus, systems in found.items():
        steps = [step for step in LOST if any(step in counts for counts in systems.values())]
        rows = {name: [float(counts[step]) or None for step in steps] for name, counts in systems.items()}
        tables[corpus] = Counted(steps, [LOST[step] for step in steps], rows)
    return {corpus: table for corpus, table in tables.items() if table.columns}


def by_kind(answers: Sequence[SystemAnswer]) -> dict[str, Counted]:
    """By corpus with questions of several kinds, each system's accuracy on each kind, in 0..1."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    asked: dict[str, dict[str, set[str]]] = {}
    for row in answers:
        if row.verdict != "unjudged":
            of_system = found.setdefault(row.corpus, {}).setdefault(row.system, {})
            of_system.setdefault(row.kind, []).append(float(right(row)))
            asked.setdefault(row.corpus, {}).setdefault(row.kind, set()).add(row.question_id)
    tables = {}
    for corpus, systems in found.items():
        kinds = sorted(asked[corpus], key=KINDS.index)
        rows = {name: [mean(kept.get(kind, ())) for kind in kinds] for name, kept in systems.items()}
        tables[corpus] = Counted(kinds, [f"{len(asked[corpus][kind])} questions" for kind in kinds], rows)
    return {corpus: table for corpus, table in tables.items() if len(table.columns) > 1}


def cost_charts(table: Table) -> list[Chart]:
    """By corpus, accuracy against the tokens of a question, a point a system."""
    drawn = []
    for number, corpus in enumerate(table.corpora):
        there = {name: cells[corpus] for name, cells in table.cells.items() if corpus in cells}
        points = {
            name: [(cell.cost.input_tokens + cell.cost.output_tokens, cell.figures["accuracy"].mean)]
            for name, cell in there.items()
            if "accuracy" in cell.figures
        }
        if points:
            title = f"Accuracy against tokens of a question on {corpus}"
            drawn.append(chart_of(f"cost-{number}", title, points, "tokens a question", "accuracy", shares=True))
    return drawn


def render(
    title: str, table: Table, answers: Sequence[SystemAnswer], rejects: Sequence[Reject], facts: Mapping[str, Any]
) -> str:
    """The page, which loads nothing. `facts`: as `comparison.compare` gives them, and `private` (texts that must stay
    so)."""
    page = {
        "title": title,
        "table": table,
        "percent": percent,
        "browsed": browse(answers),
        "charts": cost_charts(table),
        "losses": losses(answers),
        "kinds": by_kind(answers),
        "rejects": evenly(list(rejects), SHOWN_REJECTS),
        "rejected": len(rejects),
        "judge": facts.get("judge"),
        "failed": facts.get("failed_systems", {}),
        "from_text": facts.get("cartridges_from_text", {}),
        "private": facts.get("private", ""),
        "files": list(FILES),
    }
    return environment().get_template("comparison.html").render(page)


def write_comparison(
    folder: Path,
    title: str,
    table: Table,
    answers: Sequence[SystemAnswer],
    rejects: Sequence[Reject],
    facts: Mapping[str, Any],
) -> Path:
    """Write comparison.html, .csv, .json and .tex into `folder`; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, export in FILES.items():
        (folder / name).write_text(export(table), encoding="utf-8")
    page = folder / "comparison.html"
    temporary = folder / ".comparison.html"
    temporary.write_text(render(title, table, answers, rejects, facts), encoding="utf-8")
    temporary.replace(page)
    return page
