"""When the note of a finished stage still stands, and when a job has to look."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from memo_ray import job, standing
from memo_ray.config.loading import load_run
from memo_ray.console import Console
from memo_ray.corpus.loaders import source_digests
from memo_ray.errors import CorpusError
from memo_ray.ray_jobs import passed
from memo_ray.rows import Chunk
from memo_ray.standing import as_they_were, note_finished, settings_digest, stands
from memo_ray.workspace import Workspace


def run_of(folder: Path, **changes: Any) -> Workspace:
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "docs" / "wall.md").write_text("The wall was built in 1801.")
    settings = {"name": "x", "root": str(folder / "runs"), "corpora": [{"name": "a", "paths": [str(folder / "docs")]}]}
    (folder / "run.yaml").write_text(yaml.safe_dump(settings | changes))
    run = Workspace(load_run(folder / "run.yaml"), Console(quiet=True))
    run.remember_config()
    return run


@pytest.fixture
def run(tmp_path: Path) -> Workspace:
    """A run with a finished corpus."""
    run = run_of(tmp_path)
    with run.store.attempt("corpus-a", "corpus", "1" * 64, {}, source_digests(run.config.corpora[0])) as attempt:
        attempt.write("chunks", [], Chunk)
    run.note("corpus-a", "1" * 64)
    made = run.finished("corpus-a")
    assert made is not None
    note_finished(run, "corpus", [made], settings_digest(run))
    return run


def test_what_is_unchanged_stands(run: Workspace) -> None:
    assert stands(run, "corpus") and as_they_were(run, "corpus") and passed(run, "corpus", wait=True)
    assert not stands(run, "synthesis"), "it was never finished"


def test_other_settings_code_or_artefacts_do_not_stand(
    run: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(standing, "code_digest", lambda: "newer")
        assert not stands(run, "corpus")
    run_of(tmp_path, training={"epochs": 2})
    assert not stands(run, "corpus")
    run_of(tmp_path)
    assert stands(run, "corpus")
    run.note("corpus-a", "2" * 64)
    assert not stands(run, "corpus"), "the run has come to another artefact"
    run.note("corpus-a", "1" * 64)
    run.store.place.remove("corpus-a")
    assert not stands(run, "corpus"), "it is gone"


def test_a_changed_document_does_not_stand_and_one_that_cannot_be_read_is_a_jobs_to_look_at(
    run: Workspace, tmp_path: Path
) -> None:
    document = tmp_path / "docs" / "wall.md"
    text = document.read_text()
    document.write_text("The wall was built in 1802.")
    assert not as_they_were(run, "corpus")
    document.write_text(text)
    assert as_they_were(run, "corpus")
    document.unlink()
    with pytest.raises(CorpusError):
        as_they_were(run, "corpus")
    assert not passed(run, "corpus", wait=True)
    assert passed(run, "corpus", wait=False)


def test_changed_question_answer_sets_are_noticed(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"question": "Who?", "answer": "Odo."}))
    run = run_of(tmp_path, corpora=[{"name": "a", "paths": [str(tmp_path / "docs")], "reflections": [str(pairs)]}])
    (digest,) = (standing.file_digest(path) for path in [pairs])
    with run.store.attempt("synthesis-a", "synthesis", "1" * 64, {}, {"set-0": digest}) as attempt:
        attempt.write("chunks", [], Chunk)
    run.note("synthesis-a", "1" * 64)
    assert as_they_were(run, "synthesis")
    pairs.write_text(json.dumps({"question": "Who?", "answer": "Bram."}))
    assert not as_they_were(run, "synthesis")


def test_a_job_of_settings_that_have_changed_since_does_nothing(
    run: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert job.main("corpus", [run.place.url, "--settings", "other"]) == 2
    assert "run.yaml: has changed since this job was submitted; submit again" in capsys.readouterr().err
