"""From a registered memory to the tables that it was trained on, through the digests of the records."""

from __future__ import annotations

from pathlib import Path

from memo_ray.artifacts.fingerprint import files_digest
from memo_ray.artifacts.record import read_by_synthesis
from memo_ray.artifacts.registry import Lineage, Memory
from memo_ray.artifacts.store import Artifact, Store
from memo_ray.serving.lineage import tables_of


def made(store: Store, name: str, files: dict[str, str], **inputs: str) -> Artifact:
    stage, identity = name.partition("-")[0], files_digest({**files, **inputs})
    with store.attempt(name, stage, identity, {}, inputs) as attempt:
        # An evaluation's; the others' are not read here.
        attempt.facts["systems"] = {"base": "base", "memory": "epoch-2"}
        for file, text in files.items():
            (attempt.folder / file).write_text(text)
    artifact = store.find(name, identity)
    assert artifact is not None
    return artifact


def corpus(store: Store, text: str, questions: str = "") -> Artifact:
    tables = {"chunks.parquet": text, "documents.parquet": "", "groups.parquet": ""}
    return made(store, "corpus-law", tables | {"questions.parquet": questions})


def synthesis(store: Store, text: str, **inputs: str) -> Artifact:
    return made(store, "synthesis-law", {"reflections.parquet": text, "ledger.parquet": ""}, **inputs)


def memory(artifact: Artifact, path: str = "artifacts/x") -> Memory:
    return Memory(
        name="law", version=1, path=path, artifact=artifact.record.digest, base="b", base_digest="d",
        corpora=("law",), lineage=Lineage(done="trained"), made="2026-01-01T00:00:00+00:00",
    )  # fmt: skip


def test_a_version_is_cited_from_what_it_was_trained_on(tmp_path: Path) -> None:
    store = Store(tmp_path)
    corpora = [corpus(store, text) for text in ("old", "new")]
    reflections = [synthesis(store, c.record.digest, corpus=read_by_synthesis(c.record)) for c in corpora]
    for chunks, pairs in zip(corpora, reflections, strict=True):
        trained = made(store, "training-law", {"model": pairs.record.digest}, synthesis=pairs.record.digest)
        merged = made(store, "merging", {"model": "m" + pairs.record.digest}, **{"synthesis-law": pairs.record.digest})
        for artifact in (trained, merged):
            (tables,) = tables_of(store, memory(artifact))
            assert tables.reflections == str(pairs.location("reflections.parquet"))
            assert tables.chunks == str(chunks.location("chunks.parquet"))


def test_imported_pairs_have_the_newest_chunks_and_lost_ones_none(tmp_path: Path) -> None:
    store = Store(tmp_path)
    chunks, pairs = corpus(store, "text"), synthesis(store, "imported")
    trained = made(store, "training-law", {"model": "m"}, synthesis=pairs.record.digest)
    assert tables_of(store, memory(trained))[0].chunks == str(chunks.location("chunks.parquet"))
    lost = made(store, "training-law", {"model": "n"}, synthesis="gone")
    assert tables_of(store, memory(lost)) == ()


def test_recall_is_that_of_the_version_s_own_evaluation(tmp_path: Path) -> None:
    store = Store(tmp_path)
    corpus(store, "text")
    pairs = synthesis(store, "pairs")
    trained = made(store, "training-law", {"model": "m"}, synthesis=pairs.record.digest)
    made(store, "evaluation", {"answers.parquet": "other"}, **{"training-law": "another one"})
    evaluation = made(store, "evaluation", {"answers.parquet": "own"}, **{"training-law": trained.record.digest})
    (found,) = tables_of(store, memory(trained, "artifacts/training-law/f/epoch-2"))
    assert (found.answers, found.system) == (str(evaluation.location("answers.parquet")), "epoch-2")
    (unasked,) = tables_of(store, memory(trained, "artifacts/training-law/f/epoch-1"))
    assert (unasked.answers, unasked.system) == ("", "")
