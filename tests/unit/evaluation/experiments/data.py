"""Every benchmark that the experiments name, five questions each, in the files and folders that they name."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

NUMBERS = range(1, 6)
CANARY = "a canary of these tests alone"
ANSWER = "red granite"


def write_benchmarks(root: Path) -> None:
    """`data/` below `root`, as fragments.yaml expects it."""
    musique(root / "data" / "musique")
    narrativeqa(root / "data" / "narrativeqa")
    browsecomp_plus(root / "data" / "browsecomp-plus")


def sentence(name: str) -> str:
    return f"This is the page of {name}, where the wall of the harbour was built of {ANSWER} by the people of the town."


def musique(folder: Path) -> None:
    folder.mkdir(parents=True)
    names = [f"2hop__{n}_{n}" for n in NUMBERS]
    rows = [
        {
            "id": name, "question": f"Of what is wall {name} built?", "answer": ANSWER,
            "paragraphs": [
                {"idx": n, "title": f"T{n}", "paragraph_text": sentence(f"{name} {n}"), "is_supporting": n < 2}
                for n in range(8)
            ],
        }
        for name in names
    ]  # fmt: skip
    (folder / "musique_ans_v1.0_dev.jsonl").write_text("\n".join(map(json.dumps, rows)))
    negatives = {name: [f"{name}_para{n}_chunk0" for n in (2, 3)] for name in names}
    (folder / "paper1000_ids_and_negative_paras.json").write_text(json.dumps(negatives))


def narrativeqa(folder: Path) -> None:
    (folder / "tmp").mkdir(parents=True)
    documents = [(f"d{n}", "valid", "movie", "", f"Story {n}", "", "") for n in (1, 2)]
    asked = [(row[0], "valid", f"Of what is wall {n} built?", ANSWER, "granite") for row in documents for n in NUMBERS]
    sheet(folder / "documents.csv", "document_id set kind story_url wiki_title story_start story_end", documents)
    sheet(folder / "qaps.csv", "document_id set question answer1 answer2", asked)
    for name, *_ in documents:
        (folder / "tmp" / f"{name}.content").write_text(" ".join(sentence(f"{name} {n}") for n in range(40)))
    for name, ids in (("ten", ["d1", "d2"]), ("half-1", ["d1"]), ("half-2", ["d2"])):
        (folder / f"{name}.json").write_text(json.dumps(ids))


def sheet(path: Path, columns: str, rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns.split(), *rows])


def browsecomp_plus(folder: Path) -> None:
    folder.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    for n in NUMBERS:
        evidence, negatives = pages(f"e{n}"), pages(f"n{n}", f"m{n}", f"o{n}")
        rows.append({
            "query_id": str(n), "query": hide(f"Of what was the wall of number {n} of the harbour built?"),
            "answer": hide(ANSWER), "gold_docs": evidence, "evidence_docs": evidence, "negative_docs": negatives,
        })  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), folder / "test-00000.parquet")
    (folder / "qrel_evidence.txt").write_text("".join(f"{n} Q0 e{n} 1\n" for n in NUMBERS))
    (folder / "bcp_300_queries_id.json").write_text(json.dumps([str(n) for n in NUMBERS]))
    near = {str(n): [f"n{n}", f"m{n}"] for n in NUMBERS}
    (folder / "bcp_negative_N_doc_ids_per_query.json").write_text(json.dumps(near))


def pages(*names: str) -> list[dict[str, str]]:
    return [{"docid": hide(name), "text": hide(f"---\ntitle: {name}\n---\n{sentence(name)}")} for name in names]


def hide(text: str) -> str:
    key = hashlib.sha256(CANARY.encode()).digest()
    return base64.b64encode(bytes(a ^ b for a, b in zip(text.encode(), cycle(key), strict=False))).decode()
