"""The report of a run: one HTML page that loads nothing, and its tables as CSV and JSON beside it.

Texts of documents and models are data here: every value is escaped by the template engine, and characters
that could disturb the page or a terminal are replaced.
"""

from __future__ import annotations

import csv
import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from memo_ray.artifacts.store import Artifact
from memo_ray.evaluation.report import synthesis, tables
from memo_ray.evaluation.report.highlights import cards, charts, focus, headline
from memo_ray.evaluation.report.learned import learned
from memo_ray.evaluation.report.samples import reflections, rejects
from memo_ray.rows import Answer, Transcript

FILES = ("report/answers.csv", "report/tables.json")
FIGURES = ("recall", "token_f1", "exact_match", "counts", "epochs", "steps", "corpora", "synthesis", "compression")
"""The parts of the summary that `report/tables.json` repeats."""
CUT = 1200
"""Characters of a rejected prompt or reply that are shown."""

DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
SPREADSHEET_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render_report(
    summary: Mapping[str, Any],
    artefacts: Sequence[Artifact],
    answers: Sequence[Answer],
    transcripts: Sequence[Transcript],
    config: Mapping[str, Any],
    files: Sequence[str] = (),
) -> str:
    """The page. `summary` from `build_summary` on the same artefacts and answers; `config` is shown as YAML.

    `files`: addresses, relative to the page, of files to name in its footer.
    """
    systems, rows, total = tables.documents(summary, artefacts, answers)
    page: dict[str, Any] = {
        "summary": summary,
        "headline": headline(summary),
        "cards": cards(summary),
        "kinds": list(summary["counts"]),
        **{metric: tables.figures(summary, metric) for metric in ("recall", "token_f1", "exact_match")},
        "charts": charts(summary),
        "stages": tables.stages(summary, artefacts),
        "steps": synthesis.steps(summary),
        "synthesis_grids": [
            ("Reflections of each corpus", synthesis.made(summary)),
            (
                "Share of the trained pairs that neither a step nor its pairs had a part in",
                synthesis.left_without(summary),
            ),
            ("Chunks by estimated tokens", synthesis.chunk_lengths(summary)),
            ("Groups over which connections were looked for, in chunks", synthesis.groups(summary)),
        ],
        "documents": {"systems": systems, "rows": rows, "total": total},
        "learned": learned(summary, artefacts, answers),
        "sweep": tables.grid(summary["merging"].get("table", [])),
        "ways": tables.grid(summary["merging"].get("ways", [])),
        "advice": tables.advice(summary),
        "conversations": tables.conversations(answers, transcripts),
        "questions": tables.questions(summary, answers),
        "focus": focus(summary),
        "reflections": reflections(artefacts),
        "rejects": rejects(artefacts),
        "costs": tables.grid([{"stage": stage, **amounts} for stage, amounts in summary["cost"]["by_stage"].items()]),
        "config": yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
        "files": files,
    }
    page["sections"] = [(name, title) for name, title, shown in SECTIONS if shown(page)]
    return environment().get_template("page.html").render(page)


def write_report(
    folder: Path,
    summary: Mapping[str, Any],
    artefacts: Sequence[Artifact],
    answers: Sequence[Answer],
    transcripts: Sequence[Transcript],
    config: Mapping[str, Any],
) -> Path:
    """Write `report.html`, `report/answers.csv` and `report/tables.json` into `folder`; returns the page's path."""
    beside = folder / "report"
    beside.mkdir(parents=True, exist_ok=True)
    write_answers(folder / FILES[0], answers)
    systems, rows, _ = tables.documents(summary, artefacts, answers)
    data = {
        **{key: summary[key] for key in FIGURES},
        "documents": [
            {"document": row.label} | {name: cell.value for name, cell in zip(systems, row.cells, strict=True)}
            for row in rows
        ],
        "learned": learned(summary, artefacts, answers).data(),
        "sweep": summary["merging"].get("table", []),
        "ways": summary["merging"].get("ways", []),
        "advice": summary["advice"],
    }
    (folder / FILES[1]).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = folder / "report.html"
    temporary = folder / ".report.html"
    temporary.write_text(render_report(summary, artefacts, answers, transcripts, config, FILES), encoding="utf-8")
    temporary.replace(page)
    return page


def write_answers(path: Path, answers: Sequence[Answer]) -> None:
    """Every answer as CSV. A text that a spreadsheet would run as a formula gets an apostrophe before it."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Answer)])
        writer.writeheader()
        for row in answers:
            cells = asdict(row) | {"references": " / ".join(row.references)}
            writer.writerow(
                {name: _no_formula(cell) if isinstance(cell, str) else cell for name, cell in cells.items()}
            )


SECTIONS: list[tuple[str, str, Callable[[Mapping[str, Any]], Any]]] = [
    ("recall", "Recall", lambda page: page["kinds"]),
    ("protocol", "Protocol", lambda page: page["conversations"]),
    ("pipeline", "Pipeline", lambda page: True),
    ("synthesis", "Reflections by step", lambda page: page["steps"] or page["summary"]["corpora"]),
    ("documents", "Documents", lambda page: page["documents"]["rows"]),
    ("learned", "What was learnt", lambda page: page["learned"].shown),
    ("advice", "Merge, retrain or route", lambda page: page["advice"] or page["ways"].rows),
    ("merges", "Merges", lambda page: page["sweep"].rows),
    ("questions", "Questions asked alone", lambda page: page["questions"]),
    ("reflections", "Sample", lambda page: page["reflections"]),
    ("rejects", "Rejects", lambda page: page["summary"]["rejects"]),
    ("record", "Costs, settings, versions", lambda page: True),
]
"""The page's sections: id, title in the list of contents, and whether there is anything to show."""


def environment() -> Environment:
    """The template engine: everything is escaped, and a missing value is an error."""
    made = Environment(
        loader=PackageLoader("memo_ray.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    made.filters["spaced"] = lambda text: str(text).replace("_", " ")
    made.filters["figure"] = _figure
    made.filters["cut"] = lambda text: text if len(text) <= CUT else text[:CUT] + " …"
    return made


def _printable(value: Any) -> Any:
    """Texts without control characters and without marks that change the direction of what follows."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join("\ufffd" if _disturbs(character) else character for character in value)


def _disturbs(character: str) -> bool:
    return character in DIRECTIONS or (unicodedata.category(character) in ("Cc", "Cs") and character not in "\n\t")


def _figure(value: Any) -> str:
    """A value of a table whose columns are not known beforehand."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {part:g}" for key, part in value.items()) or "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if value == int(value) and abs(value) >= 10 else f"{value:.2f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return {None: "–", True: "yes", False: "no"}.get(value, str(value))


def _no_formula(text: str) -> str:
    return "'" + text if text.startswith(SPREADSHEET_FORMULA) else text
