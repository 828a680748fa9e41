"""What `memo gc` finds and frees, on a disk and on S3: all that nothing needs, and nothing else."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from memo_ray.artifacts.cache import locked
from memo_ray.artifacts.record import read_by_synthesis
from memo_ray.artifacts.registry import Entry, Lineage, Registry
from memo_ray.artifacts.store import RECORD
from memo_ray.cli import main
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.continual.forgotten import Forgotten, write_forgotten
from memo_ray.errors import StoreError
from memo_ray.housekeeping import Unneeded, disk_size, unneeded
from memo_ray.rows import Group
from memo_ray.workspace import Workspace

OLD, NEW = "1" * 64, "2" * 64


@pytest.fixture(params=["disk", "s3"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A run with its last corpus, one of other settings, and half of a synthesis."""
    root = str(tmp_path / "runs") if request.param == "disk" else request.getfixturevalue("bucket")
    monkeypatch.setenv("MEMO_CACHE", str(tmp_path / "cache"))
    run = Workspace(
        RunConfig(name="islands", root=root, corpora=(CorpusConfig(name="law", paths=("d",)),)), Console(quiet=True)
    )
    run.remember_config()
    for identity in (OLD, NEW):
        with run.store.attempt("corpus-law", "corpus", identity, {}, {}) as attempt:
            attempt.write("groups", [Group("g", "all", ["c"])], Group)
        run.note("corpus-law", identity)
    half = run.store.place.child(f"synthesis-law/{OLD[:16]}")
    half.put("progress/units/a", b"paid for")
    half.put("attempts/killed/part", b"x" * 1000)
    run.store.place.child(f"corpus-law/{NEW[:16]}").put("progress/left", b"y" * 10)
    return run


def listed(run: Workspace, *, artifacts: bool = False) -> dict[str, Unneeded]:
    found = unneeded(run, artifacts=artifacts)
    return {f"{one.kind} {one.where.removeprefix(run.store.place.url)}": one for one in found}


def test_copies_of_all_runs_go_when_they_are_asked_for(workspace: Workspace, tmp_path: Path) -> None:
    copies = tmp_path / "cache" / "s3"
    for name in ("one", "two"):
        (copies / name).mkdir(parents=True)
        (copies / name / "model.safetensors").write_bytes(b"w" * 100)
        (copies / f"{name}.lock").touch()
    assert not [one for one in unneeded(workspace) if one.kind == "cache"]
    found = [one for one in unneeded(workspace, cache=True) if one.kind == "cache"]
    assert [(one.where, one.bytes) for one in found] == [(str(copies / name), 100) for name in ("one", "two")]
    with locked(copies / "one.lock"):  # somebody downloads into it
        removing = threading.Thread(target=found[0].remove)
        removing.start()
        removing.join(0.5)
        assert (copies / "one").is_dir()
    removing.join()
    assert not (copies / "one").exists() and (copies / "two").is_dir()


def test_what_killed_attempts_left_is_found_with_its_size(workspace: Workspace) -> None:
    found = listed(workspace)
    assert {name: one.bytes for name, one in found.items()} == {
        f"progress /corpus-law/{NEW[:16]}/progress": 10,
        f"attempt /synthesis-law/{OLD[:16]}/attempts/killed": 1000,
    }
    for one in found.values():
        one.remove()
    assert listed(workspace) == {}
    half = workspace.store.place.child(f"synthesis-law/{OLD[:16]}")
    assert half.get("progress/units/a") == b"paid for"
    assert workspace.finished("corpus-law") is not None


def test_an_artefact_of_other_settings_goes_only_when_asked_for(workspace: Workspace) -> None:
    (old,) = (one for one in listed(workspace, artifacts=True).values() if one.kind == "artefact")
    assert old.where.endswith(OLD[:16]) and old.bytes > 500
    old.remove()
    assert workspace.store.find("corpus-law", OLD) is None and workspace.store.find("corpus-law", NEW) is not None


def test_an_artefact_whose_memory_is_registered_stays_until_it_is_withdrawn(workspace: Workspace) -> None:
    registry = Registry(workspace.place)
    path = f"artifacts/corpus-law/{OLD[:16]}/attempts/one/epoch-1"
    entry = Entry(
        name="law",
        path=path,
        artifact="d",
        base="b",
        base_digest="b",
        corpora=("law",),
        lineage=Lineage(done="trained"),
    )
    memory = registry.add(entry)
    assert not [one for one in listed(workspace, artifacts=True).values() if one.kind == "artefact"]
    registry.withdraw("law", memory.version)
    assert [one for one in listed(workspace, artifacts=True).values() if one.kind == "artefact"]


def test_what_a_standing_version_is_cited_from_stays_with_it(workspace: Workspace) -> None:
    store, inputs = workspace.store, {}
    for stage, table in (("corpus", "chunks"), ("synthesis", "ledger"), ("training", "model")):
        for identity in ("3" * 64, "4" * 64):
            with store.attempt(f"{stage}-law", stage, identity, {}, inputs if identity[0] == "3" else {}) as attempt:
                for name in (table, "reflections"):
                    attempt.write(name, [Group(f"{stage} {identity}", "all", [])], Group)
        workspace.note(f"{stage}-law", "4" * 64)
        made = store.find(f"{stage}-law", "3" * 64)
        assert made is not None
        inputs = {stage: read_by_synthesis(made.record) if stage == "corpus" else made.record.digest}
    entry = Entry(
        name="law", path=f"artifacts/training-law/{'3' * 16}/attempts/one/epoch-1", artifact=made.record.digest,
        base="b", base_digest="b", corpora=("law",), lineage=Lineage(done="trained"),
    )  # fmt: skip
    memory = Registry(workspace.place).add(entry)

    def of_the_version() -> set[str]:
        found = [one.where for one in listed(workspace, artifacts=True).values() if one.kind == "artefact"]
        return {where.split("/")[-2] for where in found if where.endswith("3" * 16)}

    assert of_the_version() == set()
    Registry(workspace.place).withdraw("law", memory.version)
    assert of_the_version() == {"corpus-law", "synthesis-law", "training-law"}


def test_what_a_forgetting_that_was_killed_has_to_read_stays_until_it_is_done(workspace: Workspace) -> None:
    entry = Forgotten(
        corpus="law", document_id="bell", digest="a" * 64, how="retrain", fingerprints={"corpus-law": OLD}
    )
    write_forgotten(workspace.place, entry)
    assert not [one for one in listed(workspace, artifacts=True).values() if one.kind == "artefact"]
    write_forgotten(workspace.place, entry.finished("registry/law/2.certificate.json"))
    assert [one for one in listed(workspace, artifacts=True).values() if one.kind == "artefact"]


def test_what_was_made_of_others_than_the_runs_goes_and_what_may_be_found_again_stays(workspace: Workspace) -> None:
    made = workspace.finished("corpus-law")
    assert made is not None
    for identity, digest in ((OLD, "before"), (NEW, made.record.digest)):
        with workspace.store.attempt("evaluation", "evaluation", identity, {}, {"corpus-law": digest}) as attempt:
            attempt.write("groups", [], Group)
    found = [one.where for one in listed(workspace, artifacts=True).values() if "/evaluation/" in one.where]
    assert len(found) == 1 and found[0].endswith(OLD[:16])


def test_artefacts_that_the_settings_no_longer_make_go(workspace: Workspace) -> None:
    for name in ("corpus-gone", "training", "merging"):
        with workspace.store.attempt(name, name.partition("-")[0], OLD, {}, {}) as attempt:
            attempt.write("groups", [], Group)
    found = [one.where for one in listed(workspace, artifacts=True).values() if one.kind == "artefact"]
    assert {where.split("/")[-2] for where in found} == {"corpus-law", "corpus-gone", "training", "merging"}


def test_what_another_process_makes_is_left_alone(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    (attempt,) = (one for one in listed(workspace).values() if one.kind == "attempt")
    place = workspace.store.place.child(f"synthesis-law/{OLD[:16]}")
    with place.exclusive("synthesis-law"), pytest.raises(StoreError, match="is making this artefact, so it was left"):
        attempt.remove()
    assert place.get("attempts/killed/part") is not None


def test_the_command_touches_nothing_until_it_is_told_to(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    where = workspace.place.url
    assert main(["gc", where]) == 0
    assert "can go; --delete removes it" in capsys.readouterr().out
    assert workspace.store.place.get(f"synthesis-law/{OLD[:16]}/attempts/killed/part") is not None
    assert main(["gc", where, "--artifacts", "--delete"]) == 0
    assert "freed" in capsys.readouterr().out
    assert workspace.store.place.get(f"synthesis-law/{OLD[:16]}/attempts/killed/part") is None
    assert workspace.store.place.get(f"corpus-law/{OLD[:16]}/{RECORD}") is None
    assert main(["gc", where, "--artifacts"]) == 0
    assert "nothing to free" in capsys.readouterr().out


def test_links_to_one_file_count_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert disk_size(tmp_path) == 100
