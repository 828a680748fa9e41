"""Rows out of the artefacts' tables: large ones are read by column and sampled, so that a report stays a page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from memo_ray.artifacts.store import Artifact
from memo_ray.artifacts.tables import iterate_rows
from memo_ray.evaluation.asked import evenly
from memo_ray.evaluation.summary import of_stage
from memo_ray.rows import Reject

REFLECTIONS = 24
REJECTS = 16
BY_STEP: list[tuple[str, Literal["ascending"]]] = [("step", "ascending"), ("reflection_id", "ascending")]


@dataclass(frozen=True)
class ReflectionRow:
    """A reflection beside the titles of the documents that it came from."""

    question: str
    answer: str
    step: str
    split: str
    documents: list[str]


def reflections(artefacts: Sequence[Artifact]) -> list[ReflectionRow]:
    """A few reflections, evenly spread over corpora and steps, with the documents they came from."""
    titles = document_titles(artefacts)
    found: list[ReflectionRow] = []
    made_by = of_stage(artefacts, "synthesis")
    for made in made_by:
        with pq.ParquetFile(made.path("reflections.parquet")) as file:
            table = file.read()
        order = pc.sort_indices(table, BY_STEP).to_pylist()  # type: ignore[attr-defined]
        shown = evenly(order, max(1, REFLECTIONS // len(made_by)))
        rows = table.take(pa.array(shown, pa.int64())).to_pylist()
        sources = document_ids([made], {row["reflection_id"] for row in rows})
        for row in rows:
            names = [titles.get(document, document) for document in sources.get(row["reflection_id"], ())]
            found.append(ReflectionRow(row["question"], row["answer"], row["step"], row["split"], names))
    return found


def rejects(artefacts: Iterable[Artifact]) -> list[Reject]:
    """A few rejects, the reasons taking turns."""
    by_reason: dict[str, list[Reject]] = defaultdict(list)
    for made in artefacts:
        if made.record.rows.get("rejects"):
            for row in made.rows("rejects", Reject):
                by_reason[row.reason].append(row)
    each = max(1, REJECTS // max(1, len(by_reason)))
    return [row for reason in sorted(by_reason) for row in evenly(by_reason[reason], each)]


def document_ids(artefacts: Iterable[Artifact], reflection_ids: set[str]) -> dict[str, list[str]]:
    """The documents that each of these reflections came from, by the ledger."""
    found: dict[str, list[str]] = {}
    for made in artefacts:
        if reflection_ids and made.record.rows.get("ledger"):
            for row in iterate_rows(made.path("ledger.parquet"), ["reflection_id", "document_ids"]):
                if row["reflection_id"] in reflection_ids:
                    known = found.get(row["reflection_id"], [])
                    found[row["reflection_id"]] = list(dict.fromkeys([*known, *row["document_ids"]]))
    return found


def document_titles(artefacts: Iterable[Artifact]) -> dict[str, str]:
    """Every document's title, or its id where it has none."""
    titles: dict[str, str] = {}
    for made in of_stage(artefacts, "corpus"):
        rows = iterate_rows(made.path("documents.parquet"), ["document_id", "title"])
        titles |= {row["document_id"]: row["title"] or row["document_id"] for row in rows}
    return titles
