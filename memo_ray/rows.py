"""The columns of every table. One dataclass is one row; a table is a Parquet file with exactly these columns.

Ids are hashes of content (`content_id`), so the same text has the same id in every run. This module imports
nothing of memo-ray's and nothing heavy; `memo_ray.artifacts.tables` turns these classes into Arrow schemas.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Literal

Step = Literal[
    "direct", "indirect", "fill", "consolidation", "entities", "connections", "paraphrase", "unknown", "rephrase",
    "imported",
]  # fmt: skip
"""The synthesis step that made a reflection (paper, Section 4.1: 1a, 1b, 2, 4, 5; Appendix E.2: `fill`,
`paraphrase`). `unknown` teaches to abstain; `rephrase` is held out; `imported` came from a question-answer set."""

Split = Literal["train", "held_out"]


def content_id(*parts: str) -> str:
    """Sixteen hexadecimal digits of the SHA-256 of `parts`, each separated by a byte no text contains."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Document:
    """One document as loaded. `source` is where it came from, for people; it never enters a prompt. `licence`: its
    terms of use in a few words, carried to the ledger of every reflection made from it.
    """

    document_id: str
    title: str
    text: str
    label: str
    source: str
    licence: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A contiguous piece of a document (paper, Appendix D). `start`, `end`: character offsets in its text."""

    chunk_id: str
    document_id: str
    index: int
    title: str
    text: str
    words: int
    start: int
    end: int
    label: str


@dataclass(frozen=True, slots=True)
class Group:
    """Topically related chunks, over which Step 5 looks for connections. `kind`: document, label, section,
    discovered or all."""

    group_id: str
    kind: str
    chunk_ids: list[str]


@dataclass(frozen=True, slots=True)
class Reflection:
    """A question-answer pair. Neither text holds a document id, a file name or a watermark.

    `train` rows are what the memory model learns. `held_out` rows ask a trained row's question in other words;
    they are never trained on, and checkpoints, merges and settings are chosen on them.
    """

    reflection_id: str
    question: str
    answer: str
    step: str
    split: str


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """Where a reflection came from; kept beside the reflections, never in them.

    `kind`: the commonality (Step 2), the number of facts (Step 4) or the connection (Step 5). `parents`: the pairs
    behind it, each another reflection's id or the `reflection_id` of a reject. `span_*`: parallel lists of the
    stretches of documents that it was made from, as far as they can be found: `documents[i].text[start:end]`.
    """

    reflection_id: str
    step: str
    chunk_ids: list[str]
    document_ids: list[str]
    group_id: str
    parents: list[str]
    prompt_id: str
    model: str
    seed: int
    kind: str = ""
    licence: str = ""
    span_documents: list[str] = field(default_factory=list)
    span_starts: list[int] = field(default_factory=list)
    span_ends: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reject:
    """Something that was asked for and not kept. `reason` is a short fixed word, `detail` a sentence.

    `reflection_id`: the id that a lost pair would have had, so that a pair made from it can be traced back.
    """

    row_id: str
    stage: str
    step: str
    reason: str
    detail: str
    chunk_id: str = ""
    prompt: str = ""
    reply: str = ""
    reflection_id: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """A question of a benchmark or a user. `hops` 0: unknown. Any of `answers` is right."""

    question_id: str
    question: str
    answers: list[str]
    hops: int = 0
    document_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a system said to a question, and its scores. `kind`: trained, held_out, one_hop, two_hop, ..."""

    question_id: str
    system: str
    kind: str
    question: str
    references: list[str]
    answer: str
    recalled: bool
    token_f1: float
    exact_match: bool
    seconds: float
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class SystemAnswer:
    """What one of several compared systems said under one seed, and every score of it.

    `verdict`: the judge's, "right" or "wrong"; "unjudged" when it could not be had, empty without a judge.
    `retrieved`, `evidence`: document ids. `note`: what was cut or left out of the executive's context. `lost`: the step
    that lost a wrong answer (`evaluation/losses.py`), else empty. `tokens`: JSON of model name to [input, output].
    `transcript`: the protocol's events as JSON lines; empty for a system without it.
    """

    question_id: str
    corpus: str
    system: str
    seed: int
    kind: str
    question: str
    references: list[str]
    answer: str
    verdict: str
    reason: str
    recalled: bool
    contained: bool
    exact_match: bool
    token_f1: float
    support_f1: float
    retrieved: list[str]
    evidence: list[str]
    note: str
    lost: str
    seconds: float
    calls: int
    tokens: str
    transcript: str


@dataclass(frozen=True, slots=True)
class SweepRow:
    """One merge of a sweep, judged on held-out reflections. `parameters`, `recall_by_corpus`: JSON objects.

    `recall` and `token_f1` are means over the corpora, so that a small corpus counts as much as a large one.
    `kept`: its weights are in the artefact, under merged/<recipe_id>.
    """

    recipe_id: str
    method: str
    parameters: str
    recall: float
    recall_by_corpus: str
    token_f1: float
    merge_seconds: float
    score_seconds: float
    kept: bool


@dataclass(frozen=True, slots=True)
class WayRow:
    """A way to know several corpora, beside the merges of the sweep: a memory alone, the union's, routing between them.

    `recall`, `recall_by_corpus` (JSON), `token_f1` as in SweepRow. `seconds`: of all training that it takes when the
    corpora arrive one at a time. `models`: memories to serve. `answer_seconds`: for one question asked alone.
    """

    way: str
    recall: float
    recall_by_corpus: str
    token_f1: float
    seconds: float
    models: int
    answer_seconds: float


@dataclass(frozen=True, slots=True)
class Transcript:
    """The protocol's event log for one question, as JSON lines; enough to replay it without a model."""

    question_id: str
    system: str
    question: str
    answer: str
    justification: str
    events: str
