"""What `memo status` says of stages that run, failed or were killed; on a disk and on S3."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ray.exceptions import RayTaskError

from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.errors import BeingMade, ConfigError, CorpusError, GenerationError, StoreError
from memo_ray.results import status_of, status_text
from memo_ray.rows import Chunk
from memo_ray.stage_state import LONGEST, next_command, noted, reason, watched
from memo_ray.workspace import Workspace

NAME, IDENTITY = "corpus-law", "0123456789abcdef" * 4
HOLD = """
import sys, time
from memo_ray.artifacts.place import open_place
with open_place(sys.argv[1]).exclusive("it"):
    print("held", flush=True)
    time.sleep(300)
"""


@pytest.fixture(params=["disk", "s3"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    root = str(tmp_path / "runs") if request.param == "disk" else request.getfixturevalue("bucket")
    run = Workspace(
        RunConfig(name="islands", root=root, corpora=(CorpusConfig(name="law", paths=("d",)),)), Console(quiet=True)
    )
    run.remember_config()
    run.note(NAME, IDENTITY)
    return run


def make(run: Workspace, error: BaseException | None = None) -> None:
    """The corpus, as `pipeline.make` makes it without Ray."""
    with watched(run, NAME, IDENTITY) as watch, run.store.attempt(NAME, "corpus", IDENTITY, {}, {}) as attempt:
        watch.begin(attempt)
        attempt.write("chunks", [], Chunk)
        if error is not None:
            raise error


def first_line(run: Workspace) -> str:
    return status_text(run, status_of(run)).splitlines()[1]


def test_a_failed_stage_says_why_until_it_succeeds(workspace: Workspace) -> None:
    assert status_of(workspace)["stages"][0]["state"] == "not begun"
    with pytest.raises(CorpusError):
        make(workspace, CorpusError("docs/one.txt: is not UTF-8 text; save it as UTF-8\nmore"))
    found = status_of(workspace)
    row = found["stages"][0]
    assert (row["state"], row["error"]) == ("failed", "docs/one.txt: is not UTF-8 text; save it as UTF-8")
    assert first_line(workspace).endswith(f"{row['failed']}: docs/one.txt: is not UTF-8 text; save it as UTF-8")
    assert found["next"].startswith("memo run ") and found["next"].endswith("run.yaml")
    make(workspace)
    assert status_of(workspace)["stages"][0]["state"] == "finished"
    assert not [name for name in workspace.place.names() if name.endswith("attempt.json")]


def test_an_interrupted_stage_was_begun(workspace: Workspace) -> None:
    with pytest.raises(KeyboardInterrupt):
        make(workspace, KeyboardInterrupt())
    assert status_of(workspace)["stages"][0]["state"] == "begun"


def test_after_a_job_the_command_is_submit(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(CorpusError):
        make(workspace, CorpusError("no documents"))
    assert status_of(workspace)["next"].startswith("memo submit ")
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR")
    with pytest.raises(CorpusError):
        make(workspace, CorpusError("no documents"))
    assert status_of(workspace)["next"].startswith("memo run ")


def test_a_stage_that_runs_names_its_process_and_a_second_command_is_no_failure_of_it(workspace: Workspace) -> None:
    place = workspace.store.place.child(f"{NAME}/{IDENTITY[:16]}")
    process = subprocess.Popen([sys.executable, "-c", HOLD, place.url], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        row = status_of(workspace)["stages"][0]
        assert (row["state"], row["process"]) == ("running", process.pid) and row["host"]
        assert f"({row['host']}, process {process.pid})" in first_line(workspace)
        with pytest.raises(StoreError, match=" is making "):
            make(workspace)
        found = status_of(workspace)
        assert found["stages"][0]["state"] == "running"
        assert found["next"] == f"memo status {workspace.where}"
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    assert place.get("attempt.json") is None


def test_a_reason_holds_no_key_and_no_text_of_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "a-key-of-no-known-form")
    said = GenerationError(
        "endpoint http://user:pass@host: answered status 500 (Once upon (a) time; a key); check a-key-of-no-known-form"
    )
    assert reason(said) == "endpoint http://…@host: answered status 500 (…); check …"
    assert reason(GenerationError(f"sk-{'a1' * 12} and AKIA{'B' * 16}")) == "… and …"
    assert len(reason(CorpusError("x" * 999))) == LONGEST
    with pytest.raises(ValueError, match="quotes") as caught:
        json.loads("{'the text of a document'")
    assert reason(caught.value).startswith("a bug: JSONDecodeError in decoder.py:")
    assert "document" not in reason(caught.value)
    task = RayTaskError("build", "a traceback", CorpusError("d/x.pdf: is encrypted"))
    assert reason(task.as_instanceof_cause()) == "d/x.pdf: is encrypted"


@noted
def run_stage(run: Workspace, error: Exception | None = None, *, attempted: bool = False) -> None:
    """A command that fails with `error`: in an attempt at the corpus, or before."""
    if attempted:
        make(run, error)
    elif error is not None:
        raise error


def test_what_ends_a_command_before_any_attempt_is_said_too(workspace: Workspace) -> None:
    gone = ConfigError("corpora.law.paths: d: no such file; check the path\nmore")
    with pytest.raises(ConfigError):
        run_stage(workspace, gone)
    found = status_of(workspace)
    assert found["stopped"]["error"] == "corpora.law.paths: d: no such file; check the path"
    assert f"{found['stopped']['failed']}: {found['stopped']['error']}\nnext: memo run " in status_text(
        workspace, found
    )
    run_stage(workspace, attempted=True)
    with pytest.raises(ConfigError):
        run_stage(workspace, gone)
    finished = [{"state": "finished"}]
    assert next_command(workspace, finished).startswith("memo run "), "what is finished may be of what was there before"
    run_stage(workspace)
    assert status_of(workspace)["stopped"] == {} and next_command(workspace, finished).startswith("memo serve ")


def test_a_failed_attempt_is_told_once_and_another_process_is_none(workspace: Workspace) -> None:
    with pytest.raises(CorpusError):
        run_stage(workspace, CorpusError("docs/one.txt: is not UTF-8 text"), attempted=True)
    found = status_of(workspace)
    assert found["stages"][0]["state"] == "failed" and found["stopped"] == {}
    assert status_text(workspace, found).count("is not UTF-8 text") == 1
    with pytest.raises(BeingMade):
        run_stage(workspace, BeingMade("process 7 on other is making corpus-law"))
    assert status_of(workspace)["stopped"] == {}


def test_a_damaged_note_stops_no_status(workspace: Workspace) -> None:
    workspace.place.put("stopped.json", b"{")
    workspace.place.put(f"artifacts/{NAME}/{IDENTITY[:16]}/attempt.json", b"[1]")
    assert status_of(workspace)["stages"][0]["state"] == "not begun"
    workspace.place.put("spent/one.json", b'{"gpu_seconds"')
    with pytest.raises(StoreError, match=r"spent/one\.json: is damaged; mend or remove it"):
        status_of(workspace)
