"""Two corpora on a tiny model, from their question-answer sets to the report: advice, merges, union and routing.

The model is too small to learn; what is looked at is that every way is made, asked the same and written down.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from memo_ray.artifacts.tables import iterate_rows

ROOT = Path(__file__).resolve().parents[2]
ENGINE = {
    "engine": "vllm", "dtype": "float32", "max_model_len": 256, "max_num_seqs": 8, "kv_cache_gb": 0.1,
    "enforce_eager": True,
}  # fmt: skip
FACTS = {
    "harbour": [("founded Port Amber", "Ilse Verran"), ("kept the tame heron", "Odo Stell"), ("dug the dock", "Bram")],
    "light": [("built the Skarn lighthouse", "Per Tallow"), ("lit the lamp", "Ada Quill"), ("sold the oil", "Finn")],
}
WAYS = {"memory-harbour", "memory-light", "union", "routed-likeliest", "routed-all"}

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]


def memo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    command = [sys.executable, "-m", "memo_ray.cli", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("ways")
    corpora = []
    for name, facts in FACTS.items():
        (folder / f"{name}.md").write_text(" ".join(f"{who} {did}." for did, who in facts))
        rows = [{"question": f"Who {did}?", "answer": who} for did, who in facts]
        rows += [{"question": f"By whom was it that {did}?", "answer": who, "split": "held_out"} for did, who in facts]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        corpora.append({"name": name, "paths": [f"{name}.md"], "reflections": [f"{name}.jsonl"]})
    config = {
        "name": "ways",
        "corpora": corpora,
        "training": {"base": str(tiny_model), "epochs": 1, "reflections_per_step": 2, "max_sequence_length": 256},
        "merging": {"recipes": [{"method": "ties", "density": 0.5}], "advise": True, "compare": ["union", "routing"]},
        "serving": {"executive": ENGINE, "memory": ENGINE},
        "evaluation": {"engine": ENGINE, "max_tokens": 8, "protocol_questions": 0},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    done = memo(folder, "run", "run.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def summary(ran: Path) -> dict[str, Any]:
    return json.loads((ran / "runs" / "ways" / "summary.json").read_text())


def test_every_way_was_asked_every_held_out_question(ran: Path) -> None:
    (table,) = (ran / "runs" / "ways" / "artifacts" / "merging").glob("*/attempts/*/compared.parquet")
    asked: dict[str, int] = {}
    for row in iterate_rows(table):
        asked[row["system"]] = asked.get(row["system"], 0) + (row["kind"] == "held_out")
    assert asked == dict.fromkeys(WAYS, 6)


def test_the_summary_holds_ways_and_advice(ran: Path) -> None:
    found = summary(ran)
    ways = {row["way"]: row for row in found["merging"]["ways"]}
    assert set(ways) == WAYS | {"ties-d0.5"}
    assert ways["union"]["seconds"] > ways["memory-harbour"]["seconds"]
    assert (ways["routed-all"]["models"], ways["union"]["models"]) == (2, 1)
    assert ways["routed-all"]["gb_to_serve"] > ways["ties-d0.5"]["gb_to_serve"] > 0
    assert all(row["seconds_a_question"] > 0 for row in ways.values())
    # Their words part the two corpora, whatever the model knows.
    assert found["merging"]["routing_accuracy"]["light"]["held_out"] == 1.0
    assert found["advice"]["recommended"] in ("merge", "union", "route", "undecided")
    assert len(found["advice"]["costs"]) == 10
    assert {"union", "routed-all", "memory-light", "ties-d0.5"} <= set(found["recall"])
    assert "Merge, retrain or route" in (ran / "runs" / "ways" / "report.html").read_text()


def test_the_advice_is_there_without_a_second_probe(ran: Path) -> None:
    done = memo(ran, "advise", "ways", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == summary(ran)["advice"]
    assert "advice: " in memo(ran, "advise", "ways").stdout


def test_a_second_run_reuses_everything(ran: Path) -> None:
    done = memo(ran, "run", "run.yaml")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("reused") == 2 * 3 + 4
