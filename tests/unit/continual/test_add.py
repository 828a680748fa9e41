import json
from pathlib import Path

import pytest

from memo_ray.continual.add import with_corpus
from memo_ray.errors import ConfigError
from memo_ray.workspace import Workspace


def test_a_folder_becomes_a_corpus_with_the_settings_of_the_first(run: Workspace) -> None:
    config = with_corpus(run, "docs/New Laws", None, None, sweep=False)
    first, added = config.corpora
    assert first == run.config.corpora[0]
    assert (added.name, added.paths, added.chunking) == ("new-laws", ("docs/New Laws",), first.chunking)
    assert config.merging is not None and config.merging.recipes == "paper"


def test_a_yaml_file_brings_its_own_settings(run: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "wiki.yaml"
    path.write_text("corpora:\n  - {name: wiki, paths: [w], groups: all}\n")
    added = with_corpus(run, str(path), None, "{method: ties, density: 0.5}", sweep=False)
    assert (added.corpora[1].name, added.corpora[1].groups) == ("wiki", "all")
    assert added.merging is not None and added.merging.model_dump()["recipes"][0]["density"] == 0.5


def test_run_again_it_changes_nothing(run: Workspace) -> None:
    config = with_corpus(run, "wiki", None, "linear", sweep=False)
    grown = Workspace(config, run.console)
    assert with_corpus(grown, "wiki", None, None, sweep=False) == config


@pytest.mark.parametrize(
    ("given", "name", "recipe", "told"),
    [
        ("law", None, None, "law: is the name of the run's only corpus; give the new one another --name"),
        ("wiki", "Wiki!", None, "corpora.1.name"),
        ("...", None, None, "gives no name to the corpus; add --name"),
        ("none.yaml", None, None, "none.yaml: cannot be read (No such file or directory)"),
        ("wiki", None, "{method: ties, density: 3}", "0.density: Input should be less than or equal to 1, got 3"),
        ("wiki", None, "{method", "--recipe {method: write it as"),
        ("wiki", None, "[1]", "0: Input should be an object"),
        ("wiki", None, "", "--recipe: "),
        ("wiki", None, "{method: nope}", "--recipe: "),
        ("wiki", None, "2026-01-01", "--recipe 2026-01-01: is no recipe"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    run: Workspace, given: str, name: str | None, recipe: str | None, told: str
) -> None:
    before = run.place.get("run.yaml")
    with pytest.raises(ConfigError) as error:
        with_corpus(run, given, name, recipe, sweep=False)
    assert told in str(error.value) and "\n" not in str(error.value)
    assert run.place.get("run.yaml") == before


def test_a_corpus_of_the_same_name_with_other_documents_is_refused(run: Workspace) -> None:
    grown = Workspace(with_corpus(run, "wiki", None, "linear", sweep=False), run.console)
    with pytest.raises(ConfigError, match="with other settings is in the run already"):
        with_corpus(grown, "other", "wiki", None, sweep=False)


@pytest.mark.parametrize("data", [{}, {"corpora": []}, {"corpora": [{}, {}]}, {"name": "x", "corpora": [{}]}])
def test_a_file_must_hold_one_corpus(run: Workspace, tmp_path: Path, data: dict[str, object]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match="with one entry"):
        with_corpus(run, str(path), None, None, sweep=False)
