"""A run's reflections and memory in a folder to share, from finished artefacts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memo_ray.artifacts.place import open_place
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.errors import ConfigError
from memo_ray.export import base_licence, export_run
from memo_ray.rows import Document, LedgerEntry, Reflection
from memo_ray.workspace import Workspace

DIGEST = "1" * 64
PAIR = Reflection("r1", "Who kept it?", "The daughter did.", "direct", "train")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return workspace_in(tmp_path)


def workspace_in(tmp_path: Path) -> Workspace:
    config = RunConfig(name="islands", root=str(tmp_path / "runs"), corpora=(CorpusConfig(name="law", paths=("d",)),))
    return Workspace(config, Console(quiet=True))


def made(workspace: Workspace) -> None:
    """A corpus, its reflections and a memory of one epoch."""
    entries = [
        LedgerEntry(f"r{n}", "direct", [], [], "", [], "", "", 0, licence=licence)
        for n, licence in enumerate(("CC-BY-4.0", "CC-BY-4.0; own | terms", ""))
    ]
    for stage, kind, rows in (("corpus", Document, []), ("synthesis", Reflection, [PAIR]), ("training", None, [])):
        workspace.note(f"{stage}-law", DIGEST)
        with workspace.store.attempt(f"{stage}-law", stage, DIGEST, {}, {}) as attempt:
            if kind is not None:
                attempt.write("documents" if kind is Document else "reflections", rows, kind)
                if kind is Reflection:
                    attempt.write("ledger", entries, LedgerEntry)
            else:
                (attempt.folder / "epoch-1").mkdir()
                (attempt.folder / "epoch-1" / "config.json").write_text("{}")
                attempt.facts["reflections"] = 1


def test_reflections_go_out_as_chat_and_the_memory_with_its_card(workspace: Workspace, tmp_path: Path) -> None:
    made(workspace)
    written = export_run(workspace, tmp_path / "out", "apache-2.0")
    assert [path.name for path in written] == ["reflections-law.jsonl", "memory"]
    (line,) = written[0].read_text().splitlines()
    assert json.loads(line)["messages"][0] == {"role": "user", "content": "Who kept it?"}
    card = (written[1] / "README.md").read_text()
    assert "# islands" in card and "license: apache-2.0" in card and "It has not been evaluated." in card
    corpus = workspace.finished("corpus-law")
    assert corpus is not None and corpus.record.digest in card
    assert str(tmp_path) not in card
    assert f"| law | `{corpus.record.digest}` | CC-BY-4.0; own \\| terms |" in card
    assert (written[1] / "config.json").is_file()


def test_the_card_names_the_embedded_model_and_its_licence(workspace: Workspace, tmp_path: Path) -> None:
    made(workspace)
    _, memory = export_run(workspace, tmp_path / "out")
    card = (memory / "README.md").read_text()
    assert "license: apache-2.0" in card and "base_model: HuggingFaceTB/SmolLM2-135M-Instruct" in card


def test_the_licence_of_a_base_comes_from_its_readme_wherever_it_lies(tmp_path: Path, bucket: str) -> None:
    readme = "---\nlicense: gemma\n---\n# A model"
    (tmp_path / "README.md").write_text(readme)
    open_place(bucket).put("base/README.md", readme.encode())
    assert base_licence(str(tmp_path)) == base_licence(f"{bucket}/base/") == "gemma"
    (tmp_path / "README.md").unlink()
    for unknown in (str(tmp_path), f"{bucket}/none", "nobody/has-this-model"):
        assert base_licence(unknown) == ""


def test_reflections_alone_need_no_memory(workspace: Workspace, tmp_path: Path) -> None:
    made(workspace)
    export_run(workspace, tmp_path / "out", memory=False)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["reflections-law.jsonl"]


def test_nothing_is_written_over_and_nothing_out_of_nothing(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no finished synthesis"):
        export_run(workspace, tmp_path / "out")
    made(workspace)
    with pytest.raises(ConfigError, match="already holds something; name a new or empty folder"):
        export_run(workspace, tmp_path)
