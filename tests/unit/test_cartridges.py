"""`memo cartridge`: from a run's reflections to adapters that a comparison takes, each trained once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memo_ray.artifacts.place import local_copy
from memo_ray.cartridges import settings_of, train_cartridges, with_cartridges
from memo_ray.cli import main
from memo_ray.config.comparison import Bm25, Cartridge, ComparisonConfig
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.errors import ConfigError
from memo_ray.models.cartridge import FACTS, folder_of
from memo_ray.results import stored_results
from memo_ray.rows import Document, LedgerEntry, Question, Reflection
from memo_ray.workspace import Workspace

DIGEST = "1" * 64
SMALL = ["tokens=8", "samples=2", "batch_size=1", "context_tokens=64"]
TEXTS = {"a": "The surveyor charted the coast in 1791.", "b": "The daughter kept the lighthouse."}
BARE = "The ferry crosses the sound."
"""The text of a document of which no reflection was kept."""


@pytest.fixture(params=["disk", "s3"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    root = str(tmp_path / "runs") if request.param == "disk" else request.getfixturevalue("bucket")
    run = Workspace(
        RunConfig(name="isles", root=root, corpora=(CorpusConfig(name="law", paths=("d",)),)), Console(quiet=True)
    )
    run.remember_config()
    documents = [Document(name, name, text, "", name) for name, text in (TEXTS | {"bare": BARE, "blank": " "}).items()]
    pairs = [Reflection(f"r{name}", "Who?", text.split(" ")[1], "direct", "train") for name, text in TEXTS.items()]
    ledger = [LedgerEntry(f"r{name}", "direct", [], [name], "", [], "", "", 0) for name in TEXTS]
    for stage in ("corpus", "synthesis"):
        with run.store.attempt(f"{stage}-law", stage, DIGEST, {}, {}) as attempt:
            if stage == "corpus":
                attempt.write("documents", documents, Document)
                attempt.write("questions", [Question("q", "Who?", ["the daughter"], 1, ["b"])], Question)
            else:
                attempt.write("reflections", pairs, Reflection)
                attempt.write("ledger", ledger, LedgerEntry)
        run.note(f"{stage}-law", DIGEST)
    return run


def test_every_document_gets_an_adapter_once(
    workspace: Workspace, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [part for setting in SMALL for part in ("--set", setting)]
    command = ["cartridge", workspace.place.url, "--base", str(tiny_model), "--json", *flags]
    assert main(command) == 0
    first = json.loads(capsys.readouterr().out)
    root = local_copy(first["adapters"])
    assert all((folder_of(root, name) / "adapter_model.safetensors").is_file() for name in (*TEXTS, "bare"))
    assert {name: facts["from_text"] for name, facts in first["documents"].items()} == {
        "a": False, "b": False, "bare": True,
    }  # fmt: skip
    assert first["documents"]["a"]["cache_tokens"] == 8
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out) == first  # losses and all: nothing was trained again
    command.remove("--json")
    assert main(command) == 0
    said = capsys.readouterr()
    assert said.err.splitlines()[-1].split(maxsplit=3) == ["✓", "cartridges", "reused", "3 cartridges, 1 from text"]
    assert said.out.startswith("3 cartridges, 1 from text alone: ")
    other, _ = train_cartridges(workspace, settings_of([*SMALL, "seed=1"]), str(tiny_model))
    assert other != first["adapters"]


def test_a_comparison_that_names_none_gets_its_own(workspace: Workspace, tiny_model: Path) -> None:
    system = Cartridge(kind="cartridge", base=str(tiny_model), training=settings_of(SMALL))
    comparison = ComparisonConfig(systems=(Bm25(kind="bm25"), system))
    evaluation = workspace.config.evaluation.model_copy(update={"comparison": comparison})
    workspace.config = workspace.config.model_copy(update={"evaluation": evaluation})
    made = with_cartridges(workspace, stored_results(workspace)).evaluation.comparison
    assert made is not None and made.systems[0] == comparison.systems[0]
    assert isinstance(named := made.systems[1], Cartridge) and named.base == str(tiny_model)
    assert list(json.loads((local_copy(str(named.adapters)) / FACTS).read_text())) == ["b"]  # the question's evidence
    adapters, facts = train_cartridges(workspace, settings_of(SMALL), str(tiny_model))
    assert named.adapters == adapters and sorted(facts) == ["a", "b", "bare"]


def test_settings_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"--set token: unknown key; known keys: tokens, samples"):
        settings_of(["token=8"])
    with pytest.raises(ConfigError, match=r"--set: tokens: Input should be greater than or equal to 2, got 1"):
        settings_of(["tokens=1"])
