"""Which artefacts are a run's own, and files that a kill cannot halve."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memo_ray.artifacts.owner import this_process
from memo_ray.asking import ADDRESS, served_url
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.merging import MergingConfig
from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.errors import ConfigError, StoreError
from memo_ray.models.opening import check_key
from memo_ray.rows import Chunk
from memo_ray.stage_state import next_command
from memo_ray.workspace import Workspace, load_settings, open_run


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    corpora = tuple(CorpusConfig(name=name, paths=("d",)) for name in ("a", "b-c"))
    config = RunConfig(name="x", root=str(tmp_path), corpora=corpora, merging=MergingConfig())
    return Workspace(config, Console(quiet=True))


def make(workspace: Workspace, name: str, fingerprint: str) -> None:
    with workspace.store.attempt(name, name.split("-")[0], fingerprint, {}, {}) as attempt:
        attempt.write("chunks", [], Chunk)


def test_only_artefacts_of_the_last_settings_are_the_run_s(workspace: Workspace) -> None:
    for fingerprint in ("1" * 64, "2" * 64):
        workspace.note("training-a", fingerprint)
        make(workspace, "training-a", fingerprint)
    workspace.note("training-a", "1" * 64)
    found = workspace.finished("training-a")
    assert found is not None and found.record.fingerprint == "1" * 64
    workspace.note("training-a", "3" * 64)
    assert workspace.finished("training-a") is None, "it is not made yet"


def test_what_was_made_from_another_is_no_longer_the_run_s(workspace: Workspace) -> None:
    names = ("corpus-a", "corpus-b-c", "synthesis-a", "synthesis-b-c", "training-a", "training-b-c", "evaluation")
    for name in names:
        workspace.note(name, "1" * 64)
    workspace.note("synthesis-b-c", "1" * 64)
    assert list(workspace.current()) == list(names), "nothing has changed"
    workspace.note("synthesis-b-c", "2" * 64)
    assert set(workspace.current()) == {"corpus-a", "corpus-b-c", "synthesis-a", "synthesis-b-c", "training-a"}


def test_what_the_settings_no_longer_make_is_no_longer_the_run_s(workspace: Workspace) -> None:
    names = ("training-a", "training-b-c", "training", "advice", "merging", "evaluation")
    for name in names:
        workspace.note(name, "1" * 64)
    workspace.remember_config()
    assert set(workspace.current()) == {*names} - {"training"}, "no union is asked for"
    alone = workspace.config.model_copy(update={"corpora": workspace.config.corpora[:1], "merging": None})
    Workspace(alone, workspace.console).remember_config()
    assert set(workspace.current()) == {"training-a", "evaluation"}


def test_a_run_s_folder_that_is_a_file_is_named(workspace: Workspace) -> None:
    Path(workspace.place.url).write_text("in the way")
    with pytest.raises(StoreError, match=r"run\.yaml: cannot be written \(.*\); check `root:`"):
        workspace.remember_config()


def test_the_address_of_a_server_that_was_killed_is_not_used(workspace: Workspace) -> None:
    note = {"url": "http://127.0.0.1:1", **this_process()}
    workspace.keep(ADDRESS, json.dumps(note))
    assert served_url(workspace) == "http://127.0.0.1:1"
    for changes in ({"process": 2**22 + 1}, {"host": "elsewhere"}):
        workspace.keep(ADDRESS, json.dumps(note | changes))
        assert served_url(workspace) is None


def test_a_key_that_is_not_set_is_named_with_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    check_key("", "serving")
    with pytest.raises(ConfigError, match=r"serving\.executive\.api_key_env: the environment variable NO_SUCH_KEY"):
        check_key("NO_SUCH_KEY", "serving.executive")


def test_settings_beside_artefacts_on_s3_are_loaded_by_their_address(bucket: str) -> None:
    """As every hint of a run on S3 names them; `memo add` keeps its corpus there alone."""
    run = Workspace(
        RunConfig(name="x", root=bucket, corpora=(CorpusConfig(name="a", paths=("d",)),)), Console(quiet=True)
    )
    with pytest.raises(ConfigError, match=r"x/run\.yaml: no such file; give a run's YAML file"):
        load_settings(f"{run.where}/run.yaml")
    run.remember_config()
    found = load_settings(f"{run.where}/run.yaml", ("training.epochs=9",))
    assert (found.name, found.root, found.training.epochs) == ("x", bucket, 9)
    assert next_command(run, [{"state": "failed"}]) == f"memo run {bucket}/x/run.yaml"
    with pytest.raises(ConfigError, match="no such file; give a run's YAML file"):
        load_settings(run.where)


def test_settings_of_a_person_are_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run.yaml").write_text("name: mine\ncorpora: [{paths: [docs]}]\n")
    monkeypatch.chdir(tmp_path)
    line = "holds settings and no run; give {0}/run.yaml, or `memo run {0}/run.yaml` first"
    for where in (".", "./", str(tmp_path)):
        with pytest.raises(ConfigError) as refused:
            open_run(where, Console(quiet=True))
        assert str(refused.value) == f"{where}: {line.format(where.rstrip('/'))}"
    run = open_run("run.yaml", Console(quiet=True))
    run.remember_config()
    assert open_run("runs/mine", Console(quiet=True)).place.url == open_run("mine", Console(quiet=True)).place.url
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert open_run("moved/mine", Console(quiet=True)).place.url == f"{tmp_path}/moved/mine"
