"""What `memo ask` prints of an answer's sources, and versions that are given up."""

from __future__ import annotations

from pathlib import Path

import pytest

from memo_ray.artifacts.registry import Entry, Lineage, Registry
from memo_ray.asking import source_lines
from memo_ray.cli import main
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.workspace import Workspace

PLACE = {"document_id": "d1", "chunk_id": "c1", "start": 38, "end": 91}
FOUND = {"supported": True, "score": 0.93, "reflections": [{"score": 0.93, "places": [PLACE, PLACE]}]}
NOTHING = {"supported": False, "score": 0.2, "reflections": [], "note": "not supported by the ledger"}


def test_sources_are_documents_and_spans_or_said_to_be_missing() -> None:
    citations = [
        {"number": 2, "support": FOUND, "passages": []},
        {"number": 5, "support": NOTHING, "passages": []},
        {"number": 7, "support": None, "passages": [{"document_id": "d2", "start": 0, "end": 9}]},
    ]
    assert source_lines(citations) == [
        "  [2] document d1, characters 38-91 (support 0.93)",
        "  [5] not supported by the ledger (best score 0.2)",
        "  [7] document d2, characters 0-9 (retrieved)",
    ]


def test_a_gateway_without_a_ledger_has_none() -> None:
    assert source_lines([{"number": 1, "support": None}, {"number": 2}]) == []


def test_a_version_is_given_up_by_its_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = RunConfig(name="isles", root=str(tmp_path), corpora=(CorpusConfig(name="law", paths=("d",)),))
    run = Workspace(config, Console(quiet=True))
    run.remember_config()
    for path in ("a", "b"):
        entry = Entry(
            name="isles", path=path, artifact=path, base="b", base_digest="b", corpora=("law",),
            lineage=Lineage(done="trained"),
        )  # fmt: skip
        Registry(run.place).add(entry)
    assert main(["serve", run.place.url, "--withdraw", "isles@2"]) == 0
    assert "isles@2: withdrawn; of isles stands isles@1" in capsys.readouterr().out
    for wrong, told in (("isles", "name the version too"), ("isles@9", "there is no such version"), ("I", "write a")):
        assert main(["serve", run.place.url, "--withdraw", wrong]) == 2
        assert told in capsys.readouterr().err
    assert [memory.reference for memory in Registry(run.place).versions("isles") if not memory.withdrawn] == ["isles@1"]
