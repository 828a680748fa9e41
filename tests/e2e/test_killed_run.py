"""A run killed in synthesis and in training: the next one finishes, with the rows and the loss of an unkilled one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(2400)]


def start(folder: Path, until: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "memo_ray.cli", "run", "run.yaml", "--until", until]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    # A session of its own, so that killing it takes Ray and the engines along, as a lost machine would.
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, start_new_session=True)


def finish(folder: Path, until: str) -> None:
    assert start(folder, until).wait(timeout=1800) == 0


def kill_when(folder: Path, until: str, ready: Callable[[], bool]) -> None:
    """Start the run and SIGKILL all of it as soon as `ready`."""
    driver = start(folder, until)
    end = time.monotonic() + 900
    while not ready():
        assert driver.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.2)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    time.sleep(5)  # processes of the killed session notice that their parents are gone


@pytest.fixture(scope="module")
def config(embedded_model: Path) -> dict[str, Any]:
    config = yaml.safe_load((ROOT / "demo.yaml").read_text())
    paths = [str(ROOT / "demo" / "documents" / f"{name}.md") for name in ("bell-law", "pask-school", "pilot-office")]
    config["corpora"] = [{"name": "part", "paths": paths, "groups": "all"}]
    config["name"] = "part"
    config["synthesis"] |= {"chunks_in_flight": 1}
    config["training"] |= {"epochs": 4, "state_every_s": 0.0}
    return config


def artifacts(folder: Path, stage: str) -> Path:
    return folder / "runs" / "part" / "artifacts" / f"{stage}-part"


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    (path,) = artifacts(folder, "synthesis").glob(f"*/attempts/*/{table}.parquet")
    return pq.read_table(path).to_pylist()


def final_loss(folder: Path) -> tuple[float, dict[str, Any]]:
    (record,) = artifacts(folder, "training").glob("*/artifact.json")
    facts = json.loads(record.read_text())["facts"]
    return facts["final_loss"], facts


def test_nothing_is_lost_or_doubled_and_the_loss_is_the_same(tmp_path: Path, config: dict[str, Any]) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
        (folder / "run.yaml").write_text(yaml.safe_dump(config))
    finish(whole, "training")

    def some_chunks_done() -> bool:
        return len(list(artifacts(killed, "synthesis").glob("*/progress/units/output/*.parquet"))) >= 1

    kill_when(killed, "synthesis", some_chunks_done)
    assert not list(artifacts(killed, "synthesis").glob("*/artifact.json"))
    finish(killed, "synthesis")
    ids = [row["reflection_id"] for row in rows(killed, "reflections")]
    assert len(ids) == len(set(ids))
    assert sorted(ids) == sorted(row["reflection_id"] for row in rows(killed, "ledger"))
    # The generator answers greedily, so the same questions come out whichever engine answered them.
    assert {row["question"] for row in rows(killed, "reflections")} == {
        row["question"] for row in rows(whole, "reflections")
    }

    def an_epoch_done() -> bool:
        return bool(list(artifacts(killed, "training").glob("*/progress/models/epoch-2/*.safetensors")))

    kill_when(killed, "training", an_epoch_done)
    assert not list(artifacts(killed, "training").glob("*/artifact.json"))
    finish(killed, "training")
    loss, facts = final_loss(killed)
    expected, _ = final_loss(whole)
    assert facts["resumed_from"]
    assert loss == pytest.approx(expected, rel=1e-6)
