"""What a memory knows after each epoch: recall by document and step, and abstention. Answers in, tables out.

A system is an epoch's name. Held-out questions are traced through the ledger: to the documents that they came from,
and to the step that made the pair which they ask in other words.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypedDict

from memo_ray.evaluation.asked import evenly
from memo_ray.evaluation.metrics import abstains, normalise
from memo_ray.rows import Answer, LedgerEntry, Reflection


class Cell(TypedDict):
    """Recall in 0..1 over `n` answers."""

    recall: float
    n: int


Table = dict[str, dict[str, Cell]]
"""System (an epoch) → document or step → recall."""


def recall_by_document(answers: Iterable[Answer], ledger: Iterable[LedgerEntry]) -> Table:
    """Recall by document id: the rows and columns of the heat map. A question of several documents counts for each.

    Answers that the ledger does not know (a benchmark's questions) are left out.
    """
    documents = {entry.reflection_id: entry.document_ids for entry in ledger}
    return recall_by(answers, lambda row: documents.get(row.question_id, []))


def recall_by_step(
    answers: Iterable[Answer], reflections: Iterable[Reflection], ledger: Iterable[LedgerEntry]
) -> Table:
    """Recall by the synthesis step that made a pair; of a held-out question, the step of the pair that it rephrases."""
    steps = {row.reflection_id: row.step for row in reflections}
    parents = {entry.reflection_id: entry.parents for entry in ledger}

    def steps_of(row: Answer) -> Sequence[str]:
        step = steps.get(row.question_id)
        if step != "rephrase":
            return [step] if step else []
        return sorted({steps[parent] for parent in parents.get(row.question_id, []) if parent in steps})

    return recall_by(answers, steps_of)


def recall_by(answers: Iterable[Answer], names: Callable[[Answer], Iterable[str]]) -> Table:
    """Recall by system and by every name that `names` gives an answer; names are sorted."""
    counts: dict[str, dict[str, list[bool]]] = {}
    for row in answers:
        of_system = counts.setdefault(row.system, defaultdict(list))
        for name in names(row):
            of_system[name].append(row.recalled)
    return {
        system: {name: Cell(recall=sum(rows) / len(rows), n=len(rows)) for name, rows in sorted(by_name.items())}
        for system, by_name in counts.items()
    }


def abstention(foreign: Iterable[Answer]) -> dict[str, Cell]:
    """By system, the share of questions about what it never learnt that it answers with "I don't know"."""
    said: dict[str, list[bool]] = defaultdict(list)
    for row in foreign:
        said[row.system].append(abstains(row.answer))
    return {system: Cell(recall=sum(rows) / len(rows), n=len(rows)) for system, rows in said.items()}


def curve(table: Mapping[str, Mapping[str, Cell]], epochs: Sequence[str]) -> dict[str, list[float | None]]:
    """Each name's recall over `epochs`, in their order; None where an epoch has no answer of it."""
    names = sorted({name for row in table.values() for name in row})
    return {
        name: [table[epoch][name]["recall"] if name in table.get(epoch, {}) else None for epoch in epochs]
        for name in names
    }


def weakest(table: Mapping[str, Cell], count: int) -> list[str]:
    """The `count` names with the least recall: the documents to study again. Of equals those with more answers."""
    return sorted(table, key=lambda name: (table[name]["recall"], -table[name]["n"], name))[:count]


def foreign_questions(own: Iterable[Reflection], others: Iterable[Reflection], count: int) -> list[Reflection]:
    """At most `count` held-out rows of other corpora to ask a memory that never learnt them, evenly spread.

    One whose answer is also an answer of its own is left out: there it may know by right.
    """
    known = {normalise(row.answer) for row in own}
    rows = sorted(others, key=lambda row: row.reflection_id)
    return evenly([row for row in rows if row.split == "held_out" and normalise(row.answer) not in known], count)
