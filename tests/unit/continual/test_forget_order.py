"""What `memo forget` refuses before it changes anything, and that what was killed can always be finished."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from memo_ray.artifacts.store import Artifact, Attempt
from memo_ray.config.corpus import CorpusConfig
from memo_ray.console import Console
from memo_ray.continual import forget as module
from memo_ray.continual.forget import forget
from memo_ray.continual.forgotten import FILE, Forgotten, read_forgotten, write_forgotten
from memo_ray.errors import ConfigError
from memo_ray.results import stored_results
from memo_ray.rows import Chunk, Document, Question
from memo_ray.workspace import Workspace, open_run
from tests.unit.continual.conftest import CHUNKS, DOCUMENTS

KEY = Ed25519PrivateKey.generate()
NEW = Chunk("c-new", "new", 0, "New", "It is new.", 3, 0, 10, "")


def made(run: Workspace, name: str, seed: str, write: Callable[[Attempt], None]) -> Artifact:
    """An artefact as the pipeline makes it: noted, and found again."""
    identity = hashlib.sha256(seed.encode()).hexdigest()
    run.note(name, identity)
    if run.store.find(name, identity) is None:
        with run.store.attempt(name, name.partition("-")[0], identity, {}, {}) as attempt:
            write(attempt)
    found = run.store.find(name, identity)
    assert found is not None
    return found


@pytest.fixture
def files(run: Workspace, monkeypatch: pytest.MonkeyPatch) -> list[Chunk]:
    """The chunks that the corpus's files hold; stages that take an engine or a Ray cluster are left out."""
    chunks = list(CHUNKS)

    def corpus(run: Workspace, config: CorpusConfig, may_run: bool) -> Artifact:
        kept = [chunk for chunk in chunks if chunk.document_id not in config.forget]

        def write(attempt: Attempt) -> None:
            attempt.write("documents", [row for row in DOCUMENTS if row.document_id not in config.forget], Document)
            attempt.write("chunks", kept, Chunk)
            attempt.write("questions", [], Question)

        return made(run, "corpus-law", repr(kept), write)

    def synthesis(
        run: Workspace, name: str, corpus: Artifact, may_run: bool, derive: Callable[[Attempt], None]
    ) -> Artifact:
        return made(run, "synthesis-law", corpus.record.digest, derive)

    def stages(run: Workspace, until: str) -> Any:
        def write(attempt: Attempt) -> None:
            (attempt.folder / "epoch-2").mkdir()
            (attempt.folder / "epoch-2" / "config.json").write_text("{}")

        made(run, "training-law", "training" + run.current()["synthesis-law"], write)
        return stored_results(run)

    def finish(run: Workspace, entry: Forgotten, *_: object) -> str:
        write_forgotten(run.place, entry.finished(f"registry/isles/{entry.document_id}"))
        return entry.document_id

    for name, stand_in in {
        "make_corpus": corpus, "make_synthesis": synthesis, "run_stages": stages, "finish": finish
    }.items():  # fmt: skip
        monkeypatch.setattr(module, name, stand_in)
    return chunks


def forgets(run: Workspace, document: str) -> str:
    """Another process's `memo forget`."""
    return forget(open_run(run.place.url, Console(quiet=True)), document, None, "retrain", KEY)


@pytest.mark.parametrize("stage", ["make_synthesis", "run_stages", "finish"])
def test_a_second_document_waits_for_one_that_was_killed(
    run: Workspace, files: list[Chunk], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, stage, killed)
        with pytest.raises(KeyboardInterrupt):
            forgets(run, "bell")
    with pytest.raises(ConfigError, match=r"bell of corpus law: is being forgotten .* bell --corpus law"):
        forgets(run, "salt")
    assert [forgets(run, "bell"), forgets(run, "salt")] == ["bell", "salt"]
    assert [row.done for row in read_forgotten(run.place)] == [True, True]


def test_one_killed_while_its_corpus_was_made_has_changed_nothing(
    run: Workspace, files: list[Chunk], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = run.current()
    with monkeypatch.context() as patch:
        patch.setattr(module, "chunks_of", killed)
        with pytest.raises(KeyboardInterrupt):
            forgets(run, "bell")
    assert run.current() == before and run.place.get(FILE) is None
    assert [forgets(run, "salt"), forgets(run, "bell")] == ["salt", "bell"]


def test_files_that_changed_are_refused_and_the_run_stays_as_it_was(run: Workspace, files: list[Chunk]) -> None:
    files.append(NEW)
    before = run.current(), run.place.get("run.yaml")
    with pytest.raises(ConfigError, match="its files are no longer those that were learnt"):
        forgets(run, "bell")
    assert (run.current(), run.place.get("run.yaml")) == before and run.place.get(FILE) is None
    files.remove(NEW)
    assert forgets(run, "bell") == "bell"
    assert run.current()["corpus-law"] != before[0]["corpus-law"]
