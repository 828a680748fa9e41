"""`memo stop` ends what the run has recorded, and nothing whose number was used again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from memo_ray.artifacts.owner import is_alive, this_process
from memo_ray.asking import ADDRESS
from memo_ray.cli import main
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.errors import EnvironmentProblem
from memo_ray.stopping import end, running
from memo_ray.workspace import Workspace

HOLD = """
import signal, sys, time
from memo_ray.artifacts.place import open_place
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
try:
    with open_place(sys.argv[1]).exclusive("it"):
        print("held", flush=True)
        time.sleep(300)
except KeyboardInterrupt:
    pass
"""


@pytest.fixture(params=["disk", "s3"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    root = str(tmp_path / "runs") if request.param == "disk" else request.getfixturevalue("bucket")
    run = Workspace(
        RunConfig(name="islands", root=root, corpora=(CorpusConfig(name="law", paths=("d",)),)), Console(quiet=True)
    )
    run.remember_config()
    return run


@pytest.fixture
def holding(workspace: Workspace) -> Iterator[subprocess.Popen[str]]:
    """A process that makes the run's corpus."""
    yield from held(workspace, "")


@pytest.fixture
def deaf(workspace: Workspace) -> Iterator[subprocess.Popen[str]]:
    """One that hears no signal."""
    yield from held(workspace, "deaf")


def held(workspace: Workspace, how: str) -> Iterator[subprocess.Popen[str]]:
    place = workspace.store.place.child("corpus-law/0123")
    process = subprocess.Popen([sys.executable, "-c", HOLD, place.url, how], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_what_makes_an_artefact_is_interrupted(
    workspace: Workspace, holding: subprocess.Popen[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert {what: owner["process"] for what, owner in running(workspace).items()} == {"making corpus-law": holding.pid}
    assert main(["stop", workspace.place.url]) == 0
    assert f"process {holding.pid}: stopped (making corpus-law)" in capsys.readouterr().out
    assert holding.wait(timeout=10) == 0
    assert running(workspace) == {}
    assert main(["stop", workspace.place.url]) == 0
    assert capsys.readouterr().out == "nothing of this run is running here\n"


def test_a_process_that_hears_nothing_is_named(workspace: Workspace, deaf: subprocess.Popen[str]) -> None:
    (owner,) = running(workspace).values()
    with pytest.raises(EnvironmentProblem, match=f"process {deaf.pid}: does not end"):
        end(owner, patience_s=0.3)
    assert deaf.poll() is None


def test_a_number_that_another_process_bears_now_is_left_alone(
    workspace: Workspace, holding: subprocess.Popen[str]
) -> None:
    (owner,) = running(workspace).values()
    note = {"url": "http://127.0.0.1:1", **owner}
    for changes in ({"started": "1"}, {"boot": "another"}, {"host": "elsewhere"}, {"space": "pid:[1]"}):
        workspace.keep(ADDRESS, json.dumps(note | changes))
        assert "memo serve" not in running(workspace)
    assert holding.poll() is None


def test_this_process_lives_and_is_never_stopped(workspace: Workspace) -> None:
    workspace.keep(ADDRESS, json.dumps({"url": "http://127.0.0.1:1", **this_process()}))
    assert is_alive(this_process()) and this_process()["process"] == os.getpid()
    assert running(workspace) == {}
