"""How a stage is made once, whoever comes first, and what a stage says whose forerunner is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from memo_ray.artifacts.store import Artifact, Attempt
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.errors import ConfigError
from memo_ray.pipeline import make
from memo_ray.rows import Chunk
from memo_ray.workspace import Workspace


class Slow(Workspace):
    """A run that is overtaken: while its Ray cluster starts, another command makes the same artefact."""

    overtaken = False

    @contextmanager
    def ray(self) -> Iterator[None]:
        """No cluster: what these tests make needs none."""
        if self.overtaken:
            stage(Slow(self.config, self.console), "first")
        yield


@pytest.fixture(params=["disk", "s3"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Slow:
    root = str(tmp_path) if request.param == "disk" else request.getfixturevalue("bucket")
    return Slow(RunConfig(name="x", root=root, corpora=(CorpusConfig(name="a", paths=("d",)),)), Console(quiet=True))


def stage(run: Workspace, text: str, *, may_run: bool = True) -> Artifact:
    def build(attempt: Attempt) -> None:
        attempt.write("chunks", [Chunk("1", "1", 0, "", text, 1, 0, len(text), "")], Chunk)

    return make(run, "corpus", "a", {"size": 1}, {}, build, may_run)


def test_what_another_command_finished_meanwhile_is_used(run: Slow) -> None:
    run.overtaken = True
    assert [row.text for row in stage(run, "second").rows("chunks", Chunk)] == ["first"]
    assert run.finished("corpus-a") is not None


def test_a_missing_forerunner_names_its_stage(run: Slow) -> None:
    with pytest.raises(ConfigError, match=r"^corpus-a: is not finished with .*; run the stage corpus first"):
        stage(run, "never", may_run=False)
