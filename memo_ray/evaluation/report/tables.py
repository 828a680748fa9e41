"""What the report shows, as plain rows: from the summary, the artefacts, the answers and transcripts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memo_ray.artifacts.store import Artifact
from memo_ray.errors import ProtocolError
from memo_ray.evaluation.asked import KINDS, evenly
from memo_ray.evaluation.protocol_rows import SYSTEM as PROTOCOL
from memo_ray.evaluation.report.samples import document_ids, document_titles
from memo_ray.protocol.describe import describe
from memo_ray.rows import Answer, Transcript

DOCUMENTS = 60
CONVERSATIONS = 40
QUESTIONS_OF_A_KIND = 60


@dataclass(frozen=True)
class StageRow:
    """A stage of the run. `share`: its seconds by the longest stage's, for a bar."""

    stage: str
    seconds: float
    share: float
    engine_starts: int | None
    made: str


@dataclass(frozen=True)
class Cell:
    """One figure of a table; None where nothing was asked."""

    value: float | None
    best: bool = False
    count: int = 0


@dataclass(frozen=True)
class FigureRow:
    """A row of figures: a system's by kind of question, or a document's by system."""

    label: str
    note: str
    cells: list[Cell]


@dataclass(frozen=True)
class Grid:
    """A table whose columns are known only by its rows; None where a row lacks one."""

    columns: list[str]
    rows: list[list[Any]]


@dataclass(frozen=True)
class Said:
    """What a system answered."""

    system: str
    answer: str
    recalled: bool


@dataclass(frozen=True)
class Asking:
    """A question with its references and what systems, asked alone, said."""

    question: str
    references: list[str]
    said: list[Said]


@dataclass(frozen=True)
class Conversation:
    """A question through the protocol; `lines` tell its transcript."""

    row: Answer
    justification: str
    lines: list[str]


def stages(summary: Mapping[str, Any], artefacts: Sequence[Artifact]) -> list[StageRow]:
    """Every stage with artefacts, in their order."""
    order = list(dict.fromkeys(made.record.stage for made in artefacts))
    seconds = {name: float(summary["seconds"].get(name, 0)) for name in order}
    longest = max(seconds.values(), default=0) or 1
    rows: dict[str, Counter[str]] = {name: Counter() for name in order}
    for made in artefacts:
        folders = {entry.path.split("/")[0] for entry in made.record.files if "/" in entry.path}
        rows[made.record.stage].update({**made.record.rows, "model folders": len(folders)})
    return [
        StageRow(
            stage=name,
            seconds=seconds[name],
            share=seconds[name] / longest,
            engine_starts=summary["engine_starts"].get(name),
            made=", ".join(f"{count:,} {table}" for table, count in rows[name].items() if count),
        )
        for name in order
    ]


def figures(summary: Mapping[str, Any], metric: str) -> list[FigureRow]:
    """`metric` of every system by the kinds that were asked; the best of a kind is marked."""
    table, kinds = summary[metric], list(summary["counts"])
    best = {kind: max((row[kind] for row in table.values() if kind in row), default=0) for kind in kinds}
    return [
        FigureRow(
            label=name,
            note=summary["systems"].get(name, ""),
            cells=[Cell(row.get(kind), best=bool(row.get(kind)) and row[kind] == best[kind]) for kind in kinds],
        )
        for name, row in table.items()
    ]


def documents(
    summary: Mapping[str, Any], artefacts: Sequence[Artifact], answers: Iterable[Answer]
) -> tuple[list[str], list[FigureRow], int]:
    """Recall of trained reflections by document and system: the systems, the worst documents first, how many there are.

    A reflection that came from several documents counts for each of them.
    """
    named = names(summary)
    trained = [row for row in answers if row.kind == "trained" and row.system in named]
    sources = document_ids(artefacts, {row.question_id for row in trained})
    hits: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for row in trained:
        for document in sources.get(row.question_id, ()):
            hits[document][named[row.system]].append(row.recalled)
    systems = [name for name in summary["systems"] if any(name in found for found in hits.values())]
    focus = systems.index("memory") if "memory" in systems else len(systems) - 1
    titles = document_titles(artefacts)
    rows = [
        FigureRow(
            label=titles.get(document, document),
            note=f"{max(len(recalled) for recalled in found.values()):,}",
            cells=[Cell(_mean(found.get(name, [])), count=len(found.get(name, []))) for name in systems],
        )
        for document, found in hits.items()
    ]
    rows.sort(key=lambda row: (row.cells[focus].value if row.cells[focus].value is not None else 2.0, row.label))
    return systems, rows[:DOCUMENTS], len(rows)


def conversations(answers: Iterable[Answer], transcripts: Iterable[Transcript]) -> list[Conversation]:
    """The questions that went through the protocol, each with its transcript in words."""
    told = {(row.question_id, row.question): row for row in transcripts}
    rows = [row for row in answers if row.system == PROTOCOL]
    return [_conversation(row, told.get((row.question_id, row.question))) for row in evenly(rows, CONVERSATIONS)]


def questions(summary: Mapping[str, Any], answers: Iterable[Answer]) -> dict[str, list[Asking]]:
    """By kind, an even spread of the questions with what the base model, the memory and each merge said alone."""
    named = names(summary)
    found: dict[str, dict[tuple[str, str], Asking]] = {kind: {} for kind in KINDS}
    for row in answers:
        if row.system in named:
            asking = found[row.kind].setdefault(
                (row.question_id, row.question), Asking(row.question, row.references, [])
            )
            asking.said.append(Said(named[row.system], row.answer, row.recalled))
    return {kind: evenly(list(asked.values()), QUESTIONS_OF_A_KIND) for kind, asked in found.items() if asked}


def names(summary: Mapping[str, Any]) -> dict[str, str]:
    """The name to show for a system of the answers; of several the first, so a merge that is the memory is `memory`."""
    return {system: name for name, system in reversed(summary["systems"].items())}


def grid(records: Sequence[Mapping[str, Any]]) -> Grid:
    """Records as a table with every column that any of them has."""
    columns = list(dict.fromkeys(column for record in records for column in record))
    return Grid(columns, [[record.get(column) for column in columns] for record in records])


def advice(summary: Mapping[str, Any]) -> dict[str, Grid]:
    """The adviser's tables by caption; empty without an advice."""
    found = summary["advice"]
    if not found:
        return {}
    return {
        "Predicted and actual recall of held-out questions": grid(found["beside"]),
        "The task vectors: norms, cosine and share of conflicting signs, by layer": grid(found["geometry"]),
        "Seconds and gigabytes as corpora arrive one at a time": grid(found["costs"]),
    }


def _conversation(row: Answer, transcript: Transcript | None) -> Conversation:
    if transcript is None:
        return Conversation(row, "", [])
    try:
        lines = list(describe(transcript.events.splitlines()))
    except ProtocolError as error:
        # Written by another version of the protocol: the answer is worth showing without its stages.
        lines = [f"(its transcript cannot be shown: {error})"]
    return Conversation(row, transcript.justification, lines)


def _mean(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None
