"""A corpus is added to a run and a document is forgotten, on a tiny model: all real but the generator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from memo_ray.artifacts.registry import Registry
from memo_ray.artifacts.store import Attempt
from memo_ray.config.loading import validate
from memo_ray.console import Console
from memo_ray.continual import forget as forgetting
from memo_ray.continual.add import add_corpus
from memo_ray.continual.forget import forget
from memo_ray.errors import ConfigError
from memo_ray.pipeline import make_corpus, make_synthesis, run_stages
from memo_ray.results import memory_of, stored_results
from memo_ray.rows import Chunk, LedgerEntry, Reflection, Reject, content_id
from memo_ray.workspace import Workspace, open_run

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1200)]

KEY = Ed25519PrivateKey.generate()
DOCUMENTS = {"bell": "The bell rings at noon.", "salt": "Salt is dear in May.", "oars": "The feast of oars is in June."}


def settings(folder: Path, model: Path) -> dict[str, Any]:
    engine = {
        "engine": "vllm", "model": str(model), "dtype": "float32", "max_model_len": 256, "max_num_seqs": 8,
        "kv_cache_gb": 0.25, "enforce_eager": True,
    }  # fmt: skip
    return {
        "name": "isles",
        "root": str(folder / "runs"),
        "corpora": [{"name": "law", "paths": [str(folder / "law")]}],
        "synthesis": {"generator": engine},
        "training": {
            "base": str(model), "epochs": 2, "reflections_per_step": 4, "learning_rate": 3e-3,
            "max_sequence_length": 256, "gradient_checkpointing": False,
        },
        "evaluation": {"engine": engine, "max_tokens": 8},
    }  # fmt: skip


def write_pairs(corpus_chunks: list[Chunk], attempt: Attempt) -> None:
    """What a generator would have made: a pair a chunk, and the same in other words, held out."""
    reflections, ledger = [], []
    for chunk in corpus_chunks:
        pair = Reflection(content_id("q", chunk.text), f"What of {chunk.document_id}?", chunk.text, "direct", "train")
        again = Reflection(
            content_id("r", chunk.text), f"And of {chunk.document_id}?", chunk.text, "rephrase", "held_out"
        )
        for row, parents in ((pair, []), (again, [pair.reflection_id])):
            reflections.append(row)
            ledger.append(
                LedgerEntry(row.reflection_id, row.step, [chunk.chunk_id], [chunk.document_id], "", parents, "", "", 0)
            )
    attempt.write("reflections", reflections, Reflection)
    attempt.write("ledger", ledger, LedgerEntry)
    attempt.write("rejects", [], Reject)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None, tiny_model: Path) -> Path:
    folder = tmp_path_factory.mktemp("continual")
    make_run(folder, tiny_model)
    return folder


def make_run(folder: Path, tiny_model: Path) -> None:
    """A run of one corpus up to its memory in `folder`, and the files of a second one."""
    (folder / "law").mkdir()
    for name, text in DOCUMENTS.items():
        (folder / "law" / f"{name}.txt").write_text(text)
    pairs = [("Who sells figs?", "The widow does.", "train"), ("Who has figs?", "The widow does.", "held_out")]
    lines = [json.dumps({"question": q, "answer": a, "split": split}) for q, a, split in pairs]
    (folder / "figs.jsonl").write_text("\n".join(lines))
    (folder / "figs.txt").write_text("The widow sells figs.")
    figs = {"name": "figs", "paths": [str(folder / "figs.txt")], "reflections": [str(folder / "figs.jsonl")]}
    (folder / "figs.yaml").write_text(json.dumps({"corpora": [figs]}))
    with Workspace(validate(settings(folder, tiny_model), "run.yaml"), Console(quiet=True)) as run:
        run.remember_config()
        corpus = make_corpus(run, run.config.corpora[0], may_run=True)
        chunks = corpus.rows("chunks", Chunk)
        make_synthesis(run, "law", corpus, may_run=True, derive=lambda attempt: write_pairs(chunks, attempt))
        run_stages(run, until="training")


def opened(folder: Path) -> Workspace:
    return open_run(str(folder / "runs" / "isles"), Console(quiet=True))


def test_a_corpus_is_added_and_only_its_own_memory_is_trained(folder: Path) -> None:
    before = stored_results(opened(folder))
    results, memory = add_corpus(opened(folder), str(folder / "figs.yaml"), recipe="linear")
    for old, new in ((before.synthesis, results.synthesis), (before.training, results.training)):
        assert new["law"].record == old["law"].record
    assert (memory.reference, memory.corpora, memory.recipe) == ("isles@2", ("law", "figs"), "linear")
    assert (memory.lineage.done, memory.lineage.parent) == ("added figs", "isles@1")
    assert results.merging is not None and set(results.merging.record.facts["chosen_on"]) == {"law", "figs"}
    registry = Registry(opened(folder).place)
    assert registry.names() == ["figs", "isles", "law"]
    assert registry.location(memory) == memory_of(opened(folder))[0]
    # Again: nothing is made and nothing is registered.
    again, same = add_corpus(opened(folder), str(folder / "figs.yaml"))
    assert same == memory and again.merging is not None and again.merging.record == results.merging.record


def test_a_document_is_forgotten_also_when_the_command_is_killed_on_the_way(
    folder: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(forgetting, "probe", killed)
        with pytest.raises(KeyboardInterrupt):
            forget(opened(folder), "bell.txt", None, "retrain", KEY)
    assert Registry(opened(folder).place).get("isles").version == 3, "made, and nothing withdrawn yet"
    name = forget(opened(folder), "bell.txt", None, "retrain", KEY)

    run = opened(folder)
    content = run.place.get(name)
    assert name == "registry/isles/3.certificate.json" and content is not None
    body = json.loads(content)["certificate"]
    assert (body["before"].keys(), body["after"].keys()) == ({"isles@2", "law@1"}, {"isles@3", "law@2"})
    assert {group: row["n"] for group, row in body["recall"]["isles@3"].items()} == {
        "own": 2, "shared": 0, "rest": 4, "others": 2,
    }  # fmt: skip
    assert body["recall"].keys() == {"base", "isles@2", "law@1", "isles@3", "law@2"}
    assert "noon" not in content.decode() and "What of" not in content.decode()
    registry = Registry(run.place)
    assert [bool(memory.withdrawn) for memory in registry.versions("isles")] == [True, True, False]
    assert [bool(memory.withdrawn) for memory in registry.versions("figs")] == [False]
    assert memory_of(run)[0] == registry.location(registry.get("isles"))
    assert forget(run, "bell", None, "retrain", KEY) == name, "again: nothing is done"

    # Neither the user's own file, in which nothing is forgotten, nor removing the document learns anything anew.
    made = {name: artifact.record for name, artifact in stored_results(run).training.items()}
    for present in (True, False):
        if not present:
            (folder / "law" / "bell.txt").unlink()
        with Workspace(validate(settings(folder, tiny_model), "run.yaml"), Console(quiet=True)) as own:
            results = run_stages(own, until="training")
        assert results.training["law"].record == made["law"]
        assert {chunk.document_id for chunk in results.corpora["law"].rows("chunks", Chunk)} == {"salt", "oars"}
        assert len(results.synthesis["law"].rows("reflections", Reflection)) == 4


def test_what_cannot_be_forgotten_is_refused_before_anything_changes(folder: Path, tiny_model: Path) -> None:
    add_corpus(opened(folder), str(folder / "figs.yaml"), recipe="linear")
    before = opened(folder).place.get("run.yaml")
    with pytest.raises(ConfigError, match="learns question-answer sets"):
        forget(opened(folder), "figs", "figs", "retrain", KEY)
    assert opened(folder).place.get("run.yaml") == before


def test_subtracting_leaves_the_memory_of_the_corpus_out(folder: Path) -> None:
    name = forget(opened(folder), "salt", None, "subtract", KEY)
    run = opened(folder)
    body = json.loads(run.place.get(name) or b"")["certificate"]
    assert (body["how"], list(body["after"])) == ("subtract", [Registry(run.place).get("isles").reference])
    assert [corpus.name for corpus in run.config.corpora] == ["figs"]
    part = Registry(run.place).get("figs")
    assert memory_of(run)[0] == Registry(run.place).location(part)
    assert not any("law" in memory.corpora for memory in [Registry(run.place).get("isles"), part])
