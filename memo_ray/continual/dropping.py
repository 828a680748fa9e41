"""Takes everything that came from a document out of a finished synthesis.

In go the tables of a corpus and of its synthesis, and a document's id; out come the tables without the document's
reflections, without those made from them (children, held-out rephrasings), and without rejects that hold its text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from memo_ray.artifacts.store import Artifact, Attempt
from memo_ray.rows import Chunk, LedgerEntry, Reflection, Reject
from memo_ray.synthesis.asking import StepCount

REASON = "forgotten"
ACROSS_DOCUMENTS = "connections"
"""The step whose prompts hold texts of several documents, while a reject names the first chunk alone."""


@dataclass(frozen=True)
class Dropped:
    """What goes: `own` came from the document alone, `shared` from others as well. `kept`: all other reflections."""

    own: list[Reflection]
    shared: list[Reflection]
    kept: list[Reflection]


def drop(document_id: str, corpus: Artifact, synthesis: Artifact) -> Dropped:
    """The reflections of `synthesis`, which was made of `corpus`, by what the ledger says of the document."""
    ledger = synthesis.rows("ledger", LedgerEntry)
    gone = tainted(document_id, chunks_of(document_id, corpus), ledger, synthesis.rows("rejects", Reject))
    alone = {entry.reflection_id for entry in ledger if set(entry.document_ids) <= {document_id}}
    rows = synthesis.rows("reflections", Reflection)
    return Dropped(
        own=[row for row in rows if row.reflection_id in gone and row.reflection_id in alone],
        shared=[row for row in rows if row.reflection_id in gone and row.reflection_id not in alone],
        kept=[row for row in rows if row.reflection_id not in gone],
    )


def chunks_of(document_id: str, corpus: Artifact) -> set[str]:
    """The ids of a document's chunks."""
    return {chunk.chunk_id for chunk in corpus.rows("chunks", Chunk) if chunk.document_id == document_id}


def tainted(
    document_id: str, chunk_ids: set[str], ledger: Iterable[LedgerEntry], rejects: Iterable[Reject]
) -> set[str]:
    """The ids of every pair, kept or lost, that the document is behind: directly, or through a parent."""
    gone = {row.reflection_id for row in rejects if row.reflection_id and row.chunk_id in chunk_ids}
    children: dict[str, list[str]] = {}
    for entry in ledger:
        if document_id in {*entry.document_ids, *entry.span_documents} or chunk_ids & set(entry.chunk_ids):
            gone.add(entry.reflection_id)
        for parent in entry.parents:
            children.setdefault(parent, []).append(entry.reflection_id)
    waiting = list(gone)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in gone:
                gone.add(child)
                waiting.append(child)
    return gone


def write_without(document_id: str, corpus: Artifact, synthesis: Artifact, attempt: Attempt) -> None:
    """Write the tables of `synthesis` without the document, its counts by step changed accordingly."""
    dropped = drop(document_id, corpus, synthesis)
    kept = {row.reflection_id for row in dropped.kept}
    ledger = synthesis.rows("ledger", LedgerEntry)
    chunk_ids = chunks_of(document_id, corpus)
    rejects = synthesis.rows("rejects", Reject)
    gone = tainted(document_id, chunk_ids, ledger, rejects)
    attempt.write("reflections", dropped.kept, Reflection)
    attempt.write("ledger", [entry for entry in ledger if entry.reflection_id in kept], LedgerEntry)
    attempt.write("rejects", [row for row in rejects if is_of_others(row, chunk_ids, gone)], Reject)
    lost = [entry for entry in ledger if entry.reflection_id not in kept]
    attempt.facts |= facts_without(synthesis.record.facts, lost)
    attempt.facts |= {
        "train": sum(row.split == "train" for row in dropped.kept),
        "held_out": sum(row.split == "held_out" for row in dropped.kept),
        "forgot": {"from": synthesis.record.digest, "reflections": len(dropped.own) + len(dropped.shared)},
    }


def is_of_others(row: Reject, chunk_ids: set[str], gone: set[str]) -> bool:
    """Whether a reject certainly holds nothing of the document."""
    if row.step == ACROSS_DOCUMENTS or not row.chunk_id:
        return False
    return row.chunk_id not in chunk_ids and row.reflection_id not in gone


def facts_without(facts: dict[str, Any], lost: Iterable[LedgerEntry]) -> dict[str, Any]:
    """The facts of a synthesis whose pairs `lost` are no longer kept."""
    steps, kinds = Counter[str](), Counter[tuple[str, str]]()
    for entry in lost:
        steps[entry.step] += 1
        if entry.kind:
            kinds[entry.step, entry.kind] += 1
    counts = {step: StepCount.read(data) for step, data in facts.get("by_step", {}).items()}
    for step, number in steps.items():
        count = counts.setdefault(step, StepCount())
        count.kept -= number
        count.lost[REASON] += number
    for (step, kind), number in kinds.items():
        counts[step].kinds[kind] -= number
    return {**facts, "by_step": {step: count.to_json() for step, count in counts.items()}}
