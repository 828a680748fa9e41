"""What the memories of a run have learnt: held-out recall by step and document after each epoch, abstention, capacity.

From the stored answers alone, so nothing is asked again: an evaluation asks every epoch, and with several corpora
every memory is asked the others' questions too, which it should not know.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from memo_ray.artifacts.store import Artifact
from memo_ray.evaluation.capacity import Point, measure
from memo_ray.evaluation.learning import (
    Cell,
    Table,
    abstention,
    curve,
    foreign_questions,
    recall_by,
    recall_by_document,
    recall_by_step,
    weakest,
)
from memo_ray.evaluation.overlap import MOST_OVERLAP, largest_overlaps
from memo_ray.evaluation.report.highlights import Chart, chart_of, study_note
from memo_ray.evaluation.report.samples import document_titles
from memo_ray.evaluation.summary import EPOCH_NAME, corpus_name, of_stage
from memo_ray.rows import Answer, LedgerEntry, Reflection

DOCUMENTS = 60
"""Rows of the heat map: those with the least recall after the last epoch."""
FOREIGN = 2000
"""Questions of other corpora by which a memory's abstention is measured, at most."""
LARGER = {"expected": 1.0, "twice the parameters": 2.0, "four times the parameters": 4.0}
"""Lines of the capacity's chart: times the parameters."""
GOAL = 0.9
"""The recall for which the size of a memory is foretold."""


@dataclass(frozen=True)
class Room:
    """A memory's capacity by its held-out recall. `scale`: times the parameters for a recall of GOAL."""

    memory: str
    reflections: int
    recall: float
    capacity: float | None
    fill: float | None
    scale: float | None


@dataclass(frozen=True)
class Learned:
    """`documents`: title and recall after each of `epochs`. `abstained`: by memory, of foreign questions. `chosen`:
    which epoch is the memory and what it was chosen by; empty where nothing says so."""

    chosen: str = ""
    epochs: list[str] = field(default_factory=list)
    charts: list[Chart] = field(default_factory=list)
    documents: list[tuple[str, list[float | None]]] = field(default_factory=list)
    total: int = 0
    abstained: dict[str, Cell] = field(default_factory=dict)
    rooms: list[Room] = field(default_factory=list)

    @property
    def shown(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.charts or self.documents or self.abstained or self.rooms)

    def data(self) -> dict[str, Any]:
        """The figures for tables.json."""
        return {
            "chosen": self.chosen,
            "epochs": self.epochs,
            "documents": [{"document": title, "recall": cells} for title, cells in self.documents],
            "abstention": self.abstained,
            "capacity": [vars(room) for room in self.rooms],
        }


def learned(summary: Mapping[str, Any], artefacts: Sequence[Artifact], answers: Sequence[Answer]) -> Learned:
    """The figures of a run that has asked its memories held-out questions; empty for another."""
    held_out = [row for row in answers if row.kind == "held_out"]
    synthesis = {corpus_name(made): made for made in of_stage(artefacts, "synthesis")}
    if not held_out or not synthesis:
        return Learned()
    reflections = {name: made.rows("reflections", Reflection) for name, made in synthesis.items()}
    ledger = [row for made in synthesis.values() for row in made.rows("ledger", LedgerEntry)]
    every = [row for rows in reflections.values() for row in rows]
    epochs = sorted({row.system for row in held_out if EPOCH_NAME.match(row.system)}, key=epoch_of)
    by_epoch = [row for row in held_out if row.system in epochs]
    note = study_note(summary)
    charts = step_charts(recall_by_step(by_epoch, every, ledger), epochs, note) if len(epochs) > 1 else []
    charts += closeness_charts(by_epoch, reflections, epochs, note) if len(epochs) > 1 else []
    found = rooms(summary, held_out, reflections)
    studied = summary["training"].get("study", {}).get("epochs", [])
    documents = recall_by_document(by_epoch, ledger)
    titles = document_titles(artefacts)
    lines = curve(documents, epochs)
    worst = weakest(documents[epochs[-1]], DOCUMENTS) if epochs else []
    return Learned(
        chosen=choice_of(summary["training"]),
        epochs=[str(number) + " (study)" * (number in studied) for number in map(epoch_of, epochs)],
        charts=charts + capacity_charts(found),
        documents=[(titles.get(name, name), lines[name]) for name in worst],
        total=len(lines),
        abstained=abstentions(held_out, reflections),
        rooms=found,
    )


def choice_of(training: Mapping[str, Any]) -> str:
    """Which epoch is the memory, and what it was chosen by; empty where nothing says so."""
    if "chosen_by" not in training:
        return ""
    return f"The memory is that of epoch {training['chosen_epoch']} ({training['chosen_by']})."


def epoch_of(system: str) -> int:
    """The number in an epoch's name."""
    return int(system.rpartition("-")[2])


def step_charts(table: Table, epochs: Sequence[str], note: str = "") -> list[Chart]:
    """Held-out recall by the step that made the pair which is asked in other words; `note` ends the caption."""
    series = lines_of(table, epochs)
    caption = f"Held-out recall by epoch and by the step that made the pair{note}"
    return [chart_of("steps", caption, series, "epoch", "recall", shares=True)] if series else []


def lines_of(table: Table, epochs: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Each name's (epoch, recall), where it has one."""
    numbers = [float(epoch_of(name)) for name in epochs]
    return {
        name: [(x, y) for x, y in zip(numbers, values, strict=True) if y is not None]
        for name, values in curve(table, epochs).items()
    }


def closeness_charts(
    answers: Sequence[Answer], reflections: Mapping[str, Sequence[Reflection]], epochs: Sequence[str], note: str = ""
) -> list[Chart]:
    """Held-out recall of questions in quite other words, and of those near a trained one, where recall proves less."""
    nearest = [found for rows in reflections.values() for found in largest_overlaps(rows)]
    close = {found.reflection_id for found in nearest if found.share > MOST_OVERLAP}
    labels = {
        False: f"at most {MOST_OVERLAP} ({len(nearest) - len(close):,} questions)",
        True: f"more ({len(close):,} questions)",
    }
    table = recall_by(answers, lambda row: [labels[row.question_id in close]])
    series = lines_of(table, epochs)
    caption = f"Held-out recall by epoch and by the share of words in common with the nearest trained question{note}"
    return [chart_of("closeness", caption, series, "epoch", "recall", shares=True)] if series else []


def capacity_charts(rooms: Sequence[Room]) -> list[Chart]:
    """Recall against the number of reflections: what was measured, what the fitted capacity says of other numbers, and
    what memories of more parameters would recall."""
    points = sorted({(one.reflections, one.recall) for one in rooms if one.capacity is not None})
    if not points:
        return []
    found = measure([Point(*point) for point in points])
    counts = dict.fromkeys(max(1, round(found.largest * 2.0**power)) for power in range(-3, 4))
    series = {"measured": [(float(count), recall) for count, recall in points]}
    for label, scale in LARGER.items():
        series[label] = [(float(count), round(found.recall(count, scale), 4)) for count in counts]
    caption = "Held-out recall to expect of more or fewer reflections, and of memories of more parameters"
    return [chart_of("capacity", caption, series, "trained reflections", "recall", shares=True)]


def abstentions(held_out: Sequence[Answer], reflections: Mapping[str, Sequence[Reflection]]) -> dict[str, Cell]:
    """By corpus, how often its memory says "I don't know" to other corpora's held-out questions."""
    found: dict[str, Cell] = {}
    for corpus, own in reflections.items():
        others = [row for name, rows in reflections.items() if name != corpus for row in rows]
        foreign = {row.reflection_id for row in foreign_questions(own, others, FOREIGN)}
        system = f"memory-{corpus}"
        found |= abstention(row for row in held_out if row.system == system and row.question_id in foreign)
    return found


def rooms(
    summary: Mapping[str, Any], held_out: Sequence[Answer], reflections: Mapping[str, Sequence[Reflection]]
) -> list[Room]:
    """The capacity of each corpus's memory, or of the only one."""
    alone = summary["systems"].get("memory", "") if len(reflections) == 1 else ""
    found = []
    for corpus, rows in reflections.items():
        own = {row.reflection_id for row in rows if row.split == "held_out"}
        system = alone or f"memory-{corpus}"
        recalled = [row.recalled for row in held_out if row.system == system and row.question_id in own]
        trained = sum(row.split == "train" for row in rows)
        if recalled and trained:
            found.append(room(system, trained, sum(recalled) / len(recalled)))
    return found


def room(memory: str, reflections: int, recall: float) -> Room:
    """One memory's capacity; none where it knows everything, which shows no bound, or nothing."""
    if not 0 < recall < 1:
        return Room(memory, reflections, recall, None, None, None)
    found = measure([Point(reflections, recall)])
    assert math.isfinite(found.reflections)  # recall is below 1
    return Room(memory, reflections, recall, found.reflections, found.fill, found.scale_for(GOAL, reflections))
