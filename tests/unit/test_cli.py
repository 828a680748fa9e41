"""`memo` as a user types it: every mistake is one line on standard error with exit status 2, and nothing is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def memo(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "memo_ray.cli", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def write(folder: Path, **changes: Any) -> None:
    config = {"name": "mine", "corpora": [{"paths": ["docs"]}]} | changes
    (folder / "run.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "one.txt").write_text("The tower was built in 1810.")
    return tmp_path


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """The line that the user sees last; progress may stand before it."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_an_unknown_key_names_the_nearest_one(folder: Path) -> None:
    write(folder, trainig={"epochs": 2})
    assert (
        only_line(memo(folder, "run", "run.yaml")) == "memo run: run.yaml: trainig: unknown key; did you mean training?"
    )


def test_a_wrong_type_names_the_key_and_the_value(folder: Path) -> None:
    write(folder, training={"epochs": "many"})
    assert 'training.epochs: Input should be a valid integer, got "many"' in only_line(memo(folder, "run", "run.yaml"))


def test_a_missing_path_is_named_before_anything_is_made(folder: Path) -> None:
    write(folder, corpora=[{"paths": ["no-such-folder"]}])
    assert "no-such-folder" in only_line(memo(folder, "run", "run.yaml"))
    assert not list(folder.rglob("artifact.json"))


def test_an_empty_corpus(folder: Path) -> None:
    (folder / "docs" / "one.txt").unlink()
    write(folder)
    assert "docs" in only_line(memo(folder, "run", "run.yaml"))


def test_a_file_that_is_not_utf8(folder: Path) -> None:
    (folder / "docs" / "one.txt").write_bytes(b"caf\xe9 au lait")
    write(folder)
    done = memo(folder, "run", "run.yaml", "--until", "corpus")
    assert "one.txt" in done.stderr and "UTF-8" in done.stderr
    line = only_line(done).removeprefix("memo run: ")
    status = memo(folder, "status", "run.yaml", "--json")
    found = json.loads(status.stdout)
    assert found["stages"][0] | {"failed": ""} == {
        "stage": "corpus", "name": "corpus-corpus", "state": "failed", "error": line, "failed": "",
    }  # fmt: skip
    assert found["next"] == "memo run runs/mine/run.yaml"
    (folder / "docs" / "one.txt").write_text("The tower was built in 1810.")
    assert memo(folder, "run", "run.yaml", "--until", "corpus").returncode == 0
    assert json.loads(memo(folder, "status", "run.yaml", "--json").stdout)["stages"][0]["state"] == "finished"


def test_with_json_lines_every_line_of_progress_is_one_object(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMO_LOG", "json")
    write(folder)
    done = memo(folder, "run", "run.yaml", "--until", "corpus")
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["message"] for line in lines] == ["run mine in runs/mine", "started", "finished"]
    assert all({"time", "level", "run"} <= line.keys() for line in lines)
    ended = lines[-1] | {"time": "", "seconds": 0}
    assert ended == {
        "time": "", "level": "info", "run": "mine", "stage": "corpus", "corpus": "corpus", "message": "finished",
        "seconds": 0, "rows": ended["rows"],
    }  # fmt: skip
    assert ended["rows"]["documents"] == 1
    (folder / "docs" / "one.txt").write_bytes(b"caf\xe9 au lait")
    done = memo(folder, "run", "run.yaml", "--until", "corpus")
    last = json.loads(done.stderr.splitlines()[-1])
    assert (done.returncode, last["level"], last["stage"], last["command"]) == (2, "error", "corpus", "memo run")
    assert "UTF-8" in last["message"]


def test_a_model_folder_without_a_tokenizer(folder: Path, tiny_model: Path) -> None:
    model = folder / "model"
    model.mkdir()
    for name in ("config.json", "model.safetensors"):
        (model / name).write_bytes((tiny_model / name).read_bytes())
    write(folder, synthesis={"generator": {"engine": "vllm", "model": str(model)}})
    assert "synthesis.generator.model" in only_line(memo(folder, "run", "run.yaml"))


def test_a_run_that_is_not_there(folder: Path) -> None:
    for verb in (("status", "nothing"), ("serve", "nothing"), ("ask", "nothing", "Who?"), ("report", "nothing")):
        assert "nothing: no run there" in only_line(memo(folder, *verb))


def test_a_stage_that_needs_an_earlier_one(folder: Path) -> None:
    write(folder)
    done = memo(folder, "run", "run.yaml", "--only", "synthesis")
    assert "corpus-corpus: is not finished with these settings; run the stage corpus first" in only_line(done)


def test_an_unknown_verb_and_a_bad_override(folder: Path) -> None:
    write(folder)
    assert memo(folder, "fly").returncode == 2
    assert "--set training.epoch" in only_line(memo(folder, "run", "run.yaml", "--set", "training.epoch"))


def test_doctor_lists_every_check(folder: Path) -> None:
    done = memo(folder, "doctor")
    assert done.returncode in (0, 2)
    assert all(word in done.stdout for word in ("memory", "disk"))


NOISY = """
import sys
from memo_ray import results
from memo_ray.cli import main
rows, taken_before = results.status_rows, sys.stdout
def noisy(workspace):
    print("Configuration for experiment")
    print("a handler's line", file=taken_before)
    return rows(workspace)
results.status_rows = noisy
sys.exit(main(["status", "run.yaml", "--json"]))
"""


def test_what_a_library_prints_does_not_stand_before_the_json(folder: Path) -> None:
    write(folder)
    command = [sys.executable, "-c", NOISY]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True, timeout=60)
    assert json.loads(done.stdout)["next"] == f"memo run {Path('runs', 'mine', 'run.yaml')}"
    assert "Configuration for experiment" in done.stderr and "a handler's line" in done.stderr
