"""The whole loop on the embedded model, as a user runs it: two corpora, two memories, six merges, an answered question.

The corpora are two small halves of the demo's. The second run must find everything finished.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from memo_ray.artifacts.tables import iterate_rows

ROOT = Path(__file__).resolve().parents[2]
HALVES = {"harbour": ("esmarrow-harbour", "bell-law"), "salt": ("gildwick-salt-works", "pask-school")}
METHODS = ("linear", "task_arithmetic", "slerp", "ties", "dare_linear", "dare_ties")
RECIPES = [{"method": method} | extra for method, extra in zip(
    METHODS, ({}, {}, {"t": 0.5}, {"density": 0.5}, {"density": 0.5}, {"density": 0.5}), strict=True)]  # fmt: skip

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2400)]


def memo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memo_ray.cli", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def config_of(folder: Path) -> dict[str, Any]:
    config = yaml.safe_load((ROOT / "demo.yaml").read_text())
    questions = [json.loads(line) for line in (ROOT / "demo" / "questions.jsonl").read_text().splitlines()]
    config["corpora"] = []
    for name, documents in HALVES.items():
        chosen = [row for row in questions if set(row["document_ids"]) <= set(documents)]
        (folder / f"{name}.jsonl").write_text("\n".join(json.dumps(row) for row in chosen))
        paths = [str(ROOT / "demo" / "documents" / f"{document}.md") for document in documents]
        config["corpora"].append({"name": name, "paths": paths, "questions": f"{name}.jsonl", "groups": "all"})
    config["name"] = "halves"
    config["training"] |= {"epochs": 5, "reflections_per_step": 8}
    config["merging"] = {"recipes": RECIPES}
    config["evaluation"] |= {"protocol_questions": 2}
    return config


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory, embedded_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("loop")
    (folder / "run.yaml").write_text(yaml.safe_dump(config_of(folder)))
    done = memo(folder, "run", "run.yaml")
    print(done.stderr[-6000:], done.stdout)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "A question through the protocol:" in done.stdout
    assert "report:" in done.stdout
    return folder


@pytest.fixture(scope="module")
def summary(ran: Path) -> dict[str, Any]:
    return json.loads((ran / "runs" / "halves" / "summary.json").read_text())


def tables(ran: Path, stage: str, table: str) -> list[dict[str, Any]]:
    found = sorted((ran / "runs" / "halves" / "artifacts").glob(f"{stage}*/*/attempts/*/{table}.parquet"))
    assert found, (stage, table)
    return [row for path in found for row in iterate_rows(path)]


def test_memories_know_what_the_base_does_not(summary: dict[str, Any]) -> None:
    recall = summary["recall"]
    assert recall["base"]["trained"] <= 0.1
    everything = sum(row for row in summary["reflections"].values())
    assert everything >= 20
    # Each memory is asked both halves' reflections and was trained on one of them.
    assert recall["memory-harbour"]["trained"] + recall["memory-salt"]["trained"] >= 0.6


def test_all_six_methods_were_merged_and_the_best_is_kept(ran: Path, summary: dict[str, Any]) -> None:
    sweep = tables(ran, "merging", "sweep")
    assert {row["method"] for row in sweep} == set(METHODS)
    assert {row["recipe_id"] for row in sweep} <= set(summary["recall"])
    best = summary["merging"]["best"]
    assert [row["recipe_id"] for row in sweep if row["kept"]] == [best]
    assert max(sweep, key=lambda row: row["recall"])["recall"] == next(
        row["recall"] for row in sweep if row["recipe_id"] == best
    )
    (folder,) = (ran / "runs" / "halves" / "artifacts").glob(f"merging/*/attempts/*/merged/{best}")
    assert list(folder.glob("*.safetensors")) and not list(folder.rglob("*.bin"))


def test_the_generator_started_once_a_corpus(summary: dict[str, Any]) -> None:
    assert summary["engine_starts"]["synthesis"] == len(HALVES)
    assert summary["engine_starts"]["merging"] <= 2
    assert summary["engine_starts"]["evaluation"] <= 3


def test_every_reflection_has_its_source_and_no_text_names_it(ran: Path) -> None:
    reflections, ledger = tables(ran, "synthesis", "reflections"), tables(ran, "synthesis", "ledger")
    ids = [row["reflection_id"] for row in reflections]
    assert len(ids) == len(set(ids)) and set(ids) == {row["reflection_id"] for row in ledger}
    documents = {name for row in ledger for name in row["document_ids"]}
    assert documents == {document for half in HALVES.values() for document in half}
    for row in reflections:
        text = f"{row['question']} {row['answer']}".lower()
        assert not any(name in text or f"{name}.md" in text for name in documents)


def test_summary_and_report_hold_what_they_promise(ran: Path, summary: dict[str, Any]) -> None:
    assert {"recall", "seconds", "engine_starts", "reflections", "rejects", "versions"} <= set(summary)
    assert {"base", "memory"} <= set(summary["recall"])
    assert {"run", "corpus", "synthesis", "training", "merging", "evaluation"} <= set(summary["seconds"])
    assert summary["protocol"]["n"] == 2
    page = (ran / "runs" / "halves" / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page
    assert summary["merging"]["best"] in page


def test_a_second_run_reuses_everything(ran: Path) -> None:
    clock = time.monotonic()
    done = memo(ran, "run", "run.yaml")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - clock < 60
    assert done.stderr.count("reused") == 2 * 3 + 2
    status = memo(ran, "status", "halves")
    assert status.stdout.count("finished") == 8 and "memo serve" in status.stdout
