"""A finished run of two documents, one pair of each and what was made of them, without any model."""

from __future__ import annotations

from pathlib import Path

import pytest

from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.run import RunConfig
from memo_ray.config.training import TrainingConfig
from memo_ray.console import Console
from memo_ray.rows import Chunk, Document, LedgerEntry, Question, Reflection, Reject
from memo_ray.workspace import Workspace

DOCUMENTS = (
    Document("bell", "The Bell Law", "The bell rings.", "", "laws/bell.md"),
    Document("salt", "Salt", "Salt is dear.", "", "salt.md"),
    Document("salt-2", "Salt", "Salt is cheap.", "", "more/salt.md"),
)
CHUNKS = tuple(Chunk(f"c-{d.document_id}", d.document_id, 0, d.title, d.text, 3, 0, 15, "") for d in DOCUMENTS)


def pair(name: str, step: str = "direct", split: str = "train") -> Reflection:
    return Reflection(name, f"Question {name}?", f"Answer {name}.", step, split)


def made_from(name: str, *documents: str, parents: tuple[str, ...] = (), step: str = "direct") -> LedgerEntry:
    chunks = [f"c-{document}" for document in documents]
    return LedgerEntry(name, step, chunks, list(documents), "", list(parents), "", "", 0)


REFLECTIONS = (
    pair("bell"), pair("salt"), pair("salt-2"), pair("both", "connections"), pair("child", "consolidation"),
    pair("orphan", "consolidation"), pair("bell-again", "rephrase", "held_out"),
    pair("salt-again", "rephrase", "held_out"),
)  # fmt: skip
LEDGER = (
    made_from("bell", "bell"),
    made_from("salt", "salt"),
    made_from("salt-2", "salt-2"),
    made_from("both", "bell", "salt", parents=("bell", "salt"), step="connections"),
    # Their rows name no chunk of the document; what they were made from does.
    made_from("child", "salt", parents=("both",), step="consolidation"),
    made_from("orphan", "salt", parents=("lost",), step="consolidation"),
    made_from("bell-again", "bell", parents=("bell",), step="rephrase"),
    made_from("salt-again", "salt", parents=("salt",), step="rephrase"),
)
REJECTS = (
    Reject("r1", "synthesis", "direct", "ambiguous", "", "c-bell", "The bell rings.", reflection_id="lost"),
    Reject("r2", "synthesis", "direct", "ambiguous", "", "c-salt", "Salt is dear."),
    Reject("r3", "synthesis", "connections", "not_connected", "", "c-salt", "Salt is dear. The bell rings."),
)
QUESTIONS = (
    Question("q1", "What rings?", ["the bell"], 1, ["bell"]),
    Question("q2", "What is dear?", ["salt"], 1, ["salt"]),
    Question("q3", "What rings and is dear?", ["both"], 2, ["bell", "salt"]),
)
FINGERPRINT = "1" * 64


@pytest.fixture
def run(tmp_path: Path, tiny_model: Path) -> Workspace:
    """The run: corpus, synthesis and a memory of two epochs."""
    config = RunConfig(
        name="isles",
        root=str(tmp_path / "runs"),
        corpora=(CorpusConfig(name="law", paths=("docs",)),),
        training=TrainingConfig(base=str(tiny_model), epochs=2),
    )
    run = Workspace(config, Console(quiet=True))
    run.remember_config()
    for stage in ("corpus", "synthesis", "training"):
        run.note(f"{stage}-law", FINGERPRINT)
    with run.store.attempt("corpus-law", "corpus", FINGERPRINT, {}, {}) as attempt:
        attempt.write("documents", DOCUMENTS, Document)
        attempt.write("chunks", CHUNKS, Chunk)
        attempt.write("questions", QUESTIONS, Question)
    with run.store.attempt("synthesis-law", "synthesis", FINGERPRINT, {}, {}) as attempt:
        attempt.write("reflections", REFLECTIONS, Reflection)
        attempt.write("ledger", LEDGER, LedgerEntry)
        attempt.write("rejects", REJECTS, Reject)
        attempt.facts["by_step"] = {"direct": {"made": 5, "kept": 3, "lost": {"ambiguous": 2}}}
    with run.store.attempt("training-law", "training", FINGERPRINT, {}, {}) as attempt:
        for epoch in ("epoch-1", "epoch-2"):
            (attempt.folder / epoch).mkdir()
            (attempt.folder / epoch / "config.json").write_text("{}")
    return run
