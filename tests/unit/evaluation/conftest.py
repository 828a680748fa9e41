"""A small finished run, made through the store: one corpus of two documents, ten reflections, three epochs."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from memo_ray.artifacts.store import Artifact, Store
from memo_ray.config.protocol import ProtocolConfig
from memo_ray.evaluation.asked import Asked, corpus_questions, held_out_questions, trained_questions
from memo_ray.evaluation.protocol_rows import protocol_rows
from memo_ray.evaluation.ray_evaluation import answer_row
from memo_ray.evaluation.summary import build_summary
from memo_ray.models.chat import ChatReply
from memo_ray.protocol import protocol, state
from memo_ray.protocol.transcript import header, line
from memo_ray.rows import Answer, Chunk, Document, LedgerEntry, Question, Reflection, Reject, SweepRow, Transcript
from tests.unit.evaluation.side_by_side import ASKED, FACTS

HOSTILE = '<script>alert("1")</script> & \u202egnirts\x07 {{ 7 * 7 }}'
SYSTEMS = {"base": "base", "memory": "epoch-3"}


@dataclass
class SmallRun:
    """What build_summary and render_report take."""

    artefacts: list[Artifact] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    transcripts: list[Transcript] = field(default_factory=list)
    systems: dict[str, str] = field(default_factory=lambda: dict(SYSTEMS))

    def summary(self) -> dict[str, Any]:
        return build_summary("small", self.artefacts, self.answers, self.systems, {"setup": 3.5, "run": 20.0})


Make = Callable[..., Artifact]


ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def shared() -> Callable[[str], Path]:
    """The path of a file of shared/data ($MEMO_SHARED, or beside the checkout), or a skip."""

    def find(name: str) -> Path:
        for folder in (os.environ.get("MEMO_SHARED", ""), ROOT.parent / "shared"):
            path = Path(folder) / "data" / name
            if folder and path.exists():
                return path
        pytest.skip(f"no shared/data/{name} beside the checkout")

    return find


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Finish an artefact with the given tables (name → rows and their class), facts, cost and files."""
    return maker(tmp_path)


@pytest.fixture
def small_run(finished_run: SmallRun) -> SmallRun:
    """A run of the test's own over artefacts that all tests share."""
    run = finished_run
    return SmallRun(list(run.artefacts), list(run.answers), list(run.transcripts), dict(run.systems))


SWEEP = [
    SweepRow("linear", "linear", "{}", 0.25, '{"isles": 0.5, "other": 0.0}', 0.3, 12.0, 1.5, False),
    SweepRow("ties-0.3", "ties", '{"density": 0.3}', 0.75, '{"isles": 1.0, "other": 0.5}', 0.8, 14.0, 1.5, True),
]


def maker(folder: Path) -> Make:
    store = Store(folder / "artifacts")

    def finish(
        stage: str, corpus: str, tables: dict[str, tuple[list[Any], type]], facts: dict[str, Any] | None = None,
        files: tuple[str, ...] = (), **cost: float,
    ) -> Artifact:  # fmt: skip
        name = f"{stage}-{corpus}" if corpus else stage
        with store.attempt(name, stage, "0" * 64, {}, {}) as attempt:
            for table, (rows, kind) in tables.items():
                attempt.write(table, rows, kind)
            for file in files:
                (attempt.folder / file).parent.mkdir(exist_ok=True)
                (attempt.folder / file).write_text("x")
            attempt.facts |= facts or {}
            attempt.add_cost(**cost)
        made = store.find(name, "0" * 64)
        assert made is not None
        return made

    return finish


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> SmallRun:
    make = maker(tmp_path_factory.mktemp("small_run"))
    documents = [Document("d1", "Harbour", "", "", "a.md"), Document("d2", HOSTILE, "", "", "b.md")]
    questions = [
        Question("q1", "Who built the wall?", ["Rolf Anstick"], 1),
        Question("q2", HOSTILE, ["red granite"], 2),
    ]
    reflections = [
        Reflection(f"r{n}", f"Which year is number {n}?", str(1790 + n), "direct" if n < 6 else "entities", "train")
        for n in range(8)
    ]
    reflections += [
        Reflection(f"h{n}", f"Number {n} is which year?", str(1790 + n), "rephrase", "held_out") for n in (0, 1)
    ]
    ledger = [
        LedgerEntry(row.reflection_id, row.step, [], ["d1"] if place % 2 else ["d1", "d2"], "", [], "", "", 0)
        for place, row in enumerate(reflections)
    ]
    rejects = [Reject(f"x{n}", "synthesis", "direct", "ungrounded", HOSTILE, "", HOSTILE, HOSTILE) for n in range(3)]
    by_step = {
        "direct": {
            "prompts": 12,
            "checks": 3,
            "made": 9,
            "kept": 6,
            "failed": {"unparsed": 4},
            "lost": {"ungrounded": 2, "duplicate": 1},
        },
        "entities": {"prompts": 2, "checks": 0, "made": 2, "kept": 2, "failed": {}, "lost": {}},
    }
    run = SmallRun()
    run.artefacts = [
        make("corpus", "isles", {"documents": (documents, Document), "questions": (questions, Question)}, seconds=1.0),
        make(
            "synthesis", "isles",
            {"reflections": (reflections, Reflection), "ledger": (ledger, LedgerEntry), "rejects": (rejects, Reject)},
            {"by_step": by_step}, seconds=10.25, engine_starts=2, input_tokens=900, output_tokens=80,
        ),
        make(
            "training", "isles", {}, {
                "final_loss": 0.25, "loss_by_epoch": [2.0, 1.0, 0.25], "loss_by_step": [2.5, 1.5, 1.0, 0.25],
                "tokens_per_second": 50.0,
            },
            files=("epoch-1/config.json", "epoch-2/config.json", "epoch-3/config.json"), seconds=30.0,
        ),
    ]  # fmt: skip
    asked = [*trained_questions(reflections, 100), *held_out_questions(reflections), *corpus_questions(questions)]
    known = {"base": 0, "epoch-1": 2, "epoch-2": 5, "epoch-3": 9}
    for system, count in known.items():
        for place, row in enumerate(asked):
            text = f"It is {row.references[0]}." if place < count else HOSTILE
            run.answers.append(answer_row(row, system, ChatReply(text, "stop", 10, 4), 0.5))
    answer, transcript = protocol_rows(asked[-1], gateway_reply(asked[-1]), 2.5)
    run.answers.append(answer)
    run.transcripts.append(transcript)
    run.artefacts.append(
        make(
            "evaluation", "",
            {
                "answers": (run.answers, Answer),
                "transcripts": (run.transcripts, Transcript),
                "rejects": ([Reject("q9", "evaluation", "base/one_hop", "generation_error", "too long")], Reject),
            },
            seconds=5.0, engine_starts=3, input_tokens=100,
        )
    )  # fmt: skip
    return run


def gateway_reply(asked: Asked) -> dict[str, Any]:
    """What /v1/answers returns for a question whose time was up after Stage 1 had asked, with its real transcript."""
    config = ProtocolConfig()
    _, effects = protocol.start(asked.question, config, schema_enforced=True)
    (first,) = [effect for effect in effects if isinstance(effect, state.Ask)]
    reply = state.Reply(first.id, json.dumps({"questions": ["Which stone is it?"]}), 30, 7)
    events = [state.Asked(asked.question), reply, state.Deadline()]
    lines = [header(config, True), *(line(event) for event in events)]
    return {
        "answer": "It was red granite", "justification": HOSTILE, "citations": [], "transcript": lines,
        "usage": {"executive": {"input_tokens": 30}},
    }  # fmt: skip


@pytest.fixture
def isles(make: Make) -> Artifact:
    documents = [Document(name, name.title(), text, "", name) for name, (_, text) in FACTS.items()]
    chunks = [Chunk(row.document_id, row.document_id, 0, row.title, row.text, 6, 0, 9, "") for row in documents]
    questions = [Question(f"q-{name}", text, [FACTS[name][0]], 1, [name]) for name, text in ASKED.items()]
    tables: Any = {"documents": (documents, Document), "chunks": (chunks, Chunk), "questions": (questions, Question)}
    return make("corpus", "musique", tables)
