"""The comparison's tables from answers that are there already: no engine is needed for what is not asked again."""

from __future__ import annotations

import json
from pathlib import Path

from memo_ray.artifacts.place import open_place
from memo_ray.artifacts.store import Attempt
from memo_ray.artifacts.tables import read_rows
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.merging import MergingConfig
from memo_ray.config.run import RunConfig
from memo_ray.evaluation.alone import put_away_answers
from memo_ray.evaluation.asked import Asked
from memo_ray.evaluation.ray_evaluation import Asking, answer_row
from memo_ray.evaluation.ways import compare_ways
from memo_ray.models.chat import ChatReply
from memo_ray.pipeline import Results
from memo_ray.progress import unheard
from memo_ray.rows import Answer, Question, Reflection, WayRow
from tests.unit.evaluation.conftest import Make

FACTS = {"harbour": ("Who founded Port Amber?", "Ilse Verran"), "light": ("Who built the lighthouse?", "Odo Stell")}
OTHER_WORDS = {"harbour": "Port Amber was founded by whom?", "light": "By whom was the lighthouse built?"}
ASKED = [Asked(f"{name}-held", "held_out", text, [FACTS[name][1]]) for name, text in OTHER_WORDS.items()]
ASKED += [Asked("q1", "one_hop", "Who built the tall lighthouse?", ["Odo Stell"])]


def reflections(name: str) -> list[Reflection]:
    question, answer = FACTS[name]
    return [
        Reflection(f"{name}-1", question, answer, "direct", "train"),
        Reflection(f"{name}-held", OTHER_WORDS[name], answer, "rephrase", "held_out"),
    ]


def test_memories_union_and_routing_side_by_side(make: Make, tmp_path: Path) -> None:
    results = Results()
    for name, question in (("harbour", []), ("light", [Question("q1", ASKED[2].question, ["Odo Stell"], 1)])):
        results.corpora[name] = make("corpus", name, {"questions": (question, Question)})
        results.synthesis[name] = make("synthesis", name, {"reflections": (reflections(name), Reflection)})
        results.training[name] = make("training", name, {}, files=("epoch-1/x",), seconds=40.0)
    results.union = make("training", "", {}, files=("epoch-1/x",), seconds=90.0)
    # Each memory says what its own corpus holds, to whatever is asked; the union's memory is always right.
    kept = open_place(tmp_path / "progress").child("compared")
    for system, says in (("memory-harbour", "Ilse Verran"), ("memory-light", "Odo Stell"), ("union", "")):
        rows = [answer_row(row, system, ChatReply(says or row.references[0], "stop", 5, 2), 0.2) for row in ASKED]
        put_away_answers(kept, system, Asking(rows))
    (tmp_path / "attempt").mkdir()
    attempt = Attempt(tmp_path / "attempt", open_place(tmp_path / "progress"), open_place(tmp_path / "attempt"))
    config = RunConfig(
        name="x",
        corpora=tuple(CorpusConfig(name=name, paths=("d",)) for name in FACTS),
        merging=MergingConfig(compare=("union", "routing")),
    )
    memories = dict.fromkeys(FACTS, tmp_path)
    compare_ways(config, tmp_path, results, memories, {"union": tmp_path}, ASKED, attempt, unheard)
    ways = {row.way: row for row in read_rows(tmp_path / "attempt" / "ways.parquet", WayRow)}
    assert {name: json.loads(row.recall_by_corpus) for name, row in ways.items()} == {
        "memory-harbour": {"harbour": 1.0, "light": 0.0},
        "memory-light": {"harbour": 0.0, "light": 1.0},
        "union": {"harbour": 1.0, "light": 1.0},
        "routed-likeliest": {"harbour": 1.0, "light": 1.0},
        "routed-all": {"harbour": 1.0, "light": 1.0},
    }
    assert {name: row.seconds for name, row in ways.items()} == {
        "memory-harbour": 40, "memory-light": 40, "union": 40 + 90, "routed-likeliest": 80, "routed-all": 80,
    }  # fmt: skip
    assert (ways["routed-likeliest"].answer_seconds, ways["routed-all"].answer_seconds) == (0.2, 0.4)
    assert attempt.facts["routing_accuracy"] == {
        "harbour": {"held_out": 1.0}, "light": {"held_out": 1.0, "one_hop": 1.0},
    }  # fmt: skip
    answers = read_rows(tmp_path / "attempt" / "compared.parquet", Answer)
    assert [row.system for row in answers].count("routed-all") == 3
    assert attempt.cost["engine_starts"] == 0
