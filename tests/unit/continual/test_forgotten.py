from pathlib import Path

import pytest

from memo_ray.artifacts.place import open_place
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.continual.forgotten import FILE, Forgotten, read_forgotten, write_forgotten
from memo_ray.errors import StoreError
from memo_ray.workspace import Workspace

ROW = Forgotten(corpus="law", document_id="bell", digest="a" * 64, how="retrain", title="T", before=("isles@1",))


def test_a_document_stands_in_the_list_once(tmp_path: Path) -> None:
    place = open_place(tmp_path)
    assert read_forgotten(place) == ()
    other = ROW.model_copy(update={"document_id": "salt"})
    for row in (ROW, other, ROW.finished("c.json")):
        write_forgotten(place, row)
    assert read_forgotten(place) == (other, ROW.finished("c.json"))
    assert "isles@1" not in (tmp_path / FILE).read_text().partition("bell")[2]


def test_every_command_leaves_a_forgotten_document_out_whatever_its_config(tmp_path: Path) -> None:
    corpora = (CorpusConfig(name="law", paths=("d",), forget=("own",)),)
    config = RunConfig(name="isles", root=str(tmp_path), corpora=corpora)
    write_forgotten(open_place(tmp_path / "isles"), ROW)
    run = Workspace(config, Console(quiet=True))
    assert run.config.corpora[0].forget == ("own", "bell", f"sha256:{'a' * 64}")
    assert Workspace(run.config, Console(quiet=True)).config == run.config


def test_a_damaged_list_stops_the_command(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('[{"corpus": "law"}]')
    with pytest.raises(StoreError, match=r"forgotten\.json: is damaged"):
        read_forgotten(open_place(tmp_path))
