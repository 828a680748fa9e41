"""The run's YAML: what is right loads, and every mistake is one line with file, key and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from memo_ray.config.loading import load_run
from memo_ray.config.run import RunConfig
from memo_ray.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
GOOD: dict[str, Any] = {"name": "mine", "corpora": [{"paths": ["docs"]}]}


def write(tmp_path: Path, data: Any) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    return path


def test_the_least_a_user_writes_has_the_papers_values(tmp_path: Path) -> None:
    run = load_run(write(tmp_path, GOOD))
    assert (run.training.learning_rate, run.training.epochs, run.training.weight_decay) == (2e-5, 3, 0.01)
    assert run.training.max_sequence_length == 8096
    assert (run.synthesis.sampling.temperature, run.synthesis.sampling.top_p) == (1.1, 0.95)
    protocol = run.serving.protocol
    assert [stage.budget for stage in (protocol.grounding, protocol.identification, protocol.answering)] == [1, 7, 8]
    assert (protocol.answering.executive_temperature, protocol.answering.memory_temperature) == (1.0, 0.3)
    chunking = run.corpora[0].chunking
    assert (chunking.kind, getattr(chunking, "words", 0), getattr(chunking, "overlap", 0)) == ("window", 6400, 640)


@pytest.mark.parametrize(
    "path", sorted([*ROOT.glob("*.yaml"), *ROOT.glob("benchmarks/*.yaml")]), ids=lambda path: path.name
)
def test_every_shipped_run_config_loads(path: Path) -> None:
    if path.name.startswith("."):
        pytest.skip("not a run's config")
    assert load_run(path).name


BAD = [
    ({**GOOD, "trainin": {}}, "trainin: unknown key; did you mean training?"),
    ({**GOOD, "training": {"epochs": "3"}}, 'training.epochs: Input should be a valid integer, got "3"'),
    ({**GOOD, "merging": {"recipes": [{"method": "linear", "density": 0.5}]}}, "linear takes no density"),
    (
        {**GOOD, "merging": {"recipes": [{"method": "ties", "density": 5}]}},
        "merging.recipes.0.density: Input should be less than or equal to 1, got 5",
    ),
    ({**GOOD, "training": {"learning_rte": 1}}, "training.learning_rte: unknown key; did you mean learning_rate?"),
    ({**GOOD, "training": {"epochs": 0}}, "training.epochs: Input should be greater than or equal to 1, got 0"),
    ({"corpora": [{"paths": ["docs"]}]}, "name: is required"),
    ({"name": "x", "corpora": []}, "corpora:"),
    ({"name": "x", "corpora": [{"paths": ["a"]}, {"paths": ["b"]}]}, "every corpus needs its own name"),
    (
        {"name": "x", "corpora": [{"name": "a", "paths": ["a"]}, {"name": "b", "paths": ["b"]}]},
        "merging: a run with several corpora needs a merging section",
    ),
    ({**GOOD, "merging": {}}, "merging: needs two or more corpora"),
    ({**GOOD, "corpora": [{"paths": ["a"], "groups": "label"}]}, "groups: label needs label_column"),
    (
        {**GOOD, "corpora": [{"paths": ["a"], "chunking": {"kind": "window", "words": 100, "overlap": 100}}]},
        "overlap (100) must be smaller than words (100)",
    ),
    ({**GOOD, "synthesis": {"generator": {"engine": "vllm", "modle": "x"}}}, "synthesis.generator.modle: unknown key"),
    ({**GOOD, "synthesis": {"generator": {"engine": "gguf"}}}, "synthesis.generator"),
    ({**GOOD, "serving": {"executive": {"engine": "openai", "base_url": "http://a:b@c", "model": "m"}}}, "base_url"),
    (
        {**GOOD, "serving": {"executive": {"engine": "openai", "base_url": "http://c/v1?k=s", "model": "m"}}},
        "a query",
    ),
    ({**GOOD, "root": "s3:/bucket"}, "write s3://bucket/prefix"),
    ({**GOOD, "root": "gs://bucket/runs"}, "write s3://bucket/prefix"),
    ({**GOOD, "root": "https://bucket/runs"}, "write s3://bucket/prefix"),
    ([1, 2], "must be a mapping"),
    ("name: [", "is not valid YAML"),
]


@pytest.mark.parametrize(("data", "expected"), BAD, ids=[expected[:40] for _, expected in BAD])
def test_mistakes_name_the_file_the_key_and_the_remedy(tmp_path: Path, data: Any, expected: str) -> None:
    path = write(tmp_path, data)
    with pytest.raises(ConfigError) as caught:
        load_run(path)
    assert expected in str(caught.value)
    assert all(line.startswith(str(path)) for line in str(caught.value).splitlines())


def test_a_missing_file_names_memo_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file; `memo init DOCS` writes one"):
        load_run(tmp_path / "absent.yaml")


def test_set_replaces_values_and_refuses_what_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    run = load_run(path, ("training.epochs=2", "corpora.0.groups=all", "synthesis.without=[direct]"))
    assert (run.training.epochs, run.corpora[0].groups, run.synthesis.without) == (2, "all", ("direct",))
    for wrong in ("training.epochs", "corpora.7.groups=all", "training.epoch=2", "training.epochs=two"):
        with pytest.raises(ConfigError):
            load_run(path, (wrong,))


def test_settings_cannot_be_changed_afterwards(tmp_path: Path) -> None:
    run: RunConfig = load_run(write(tmp_path, GOOD))
    with pytest.raises(ValueError, match="frozen"):
        run.name = "other"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\ntraining: {epochs: 2, epochs: 9}\n", r"line 2: is not valid YAML \(the key epochs stands twice\)"),
        ("name: &x [*x]\n", "holds a value that is not text"),
        ("name: x\ntraining: {learning_rate: 1e-4}\n", r"got \"1e-4\"; YAML reads this as text, write it with a dot"),
        ("name: x\ntraining: {learning_rate: .inf}\n", "training.learning_rate: "),
    ],
)
def test_yaml_s_own_traps_are_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"{text}corpora: [{{name: c, paths: [d]}}]\n")
    with pytest.raises(ConfigError, match=said):
        load_run(path)
