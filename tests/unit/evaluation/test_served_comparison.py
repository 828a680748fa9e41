"""The comparison of a run whose models are all endpoints: nothing is served for it, and the stage's rows are there."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from memo_ray.artifacts.place import open_place
from memo_ray.artifacts.store import Store
from memo_ray.config.comparison import ComparisonConfig
from memo_ray.config.loading import validate
from memo_ray.config.protocol import ProtocolConfig
from memo_ray.config.run import RunConfig
from memo_ray.config.serving import ServingConfig
from memo_ray.errors import ConfigError, CorpusError
from memo_ray.evaluation.recall import given_epoch
from memo_ray.evaluation.served_comparison import check_keys, check_questions, compare_systems
from memo_ray.progress import unheard
from memo_ray.results import remove_other_comparison
from memo_ray.rows import Answer, Chunk, Document, Question, SystemAnswer
from tests.unit.evaluation.conftest import Make
from tests.unit.evaluation.endpoint import endpoint


def config(url: str, systems: list[dict[str, Any]]) -> RunConfig:
    executive = {"engine": "openai", "base_url": url, "model": "qwen", "max_retries": 0}
    data = {
        "name": "x",
        "corpora": [{"name": "isles", "paths": ["d"]}],
        "serving": {"executive": executive},
        "evaluation": {"comparison": {"systems": systems, "seeds": [0]}},
    }
    return validate(data, "run.yaml")


def serving(protocol: ProtocolConfig | None = None) -> ServingConfig:
    """A run whose executive is an endpoint."""
    plain = config("http://h/v1", [{"kind": "bm25"}]).serving
    return plain.model_copy(update={"protocol": protocol or ProtocolConfig()})


def test_rows_facts_and_pages_are_in_the_artefact(make: Make, tmp_path: Path) -> None:
    documents = [Document("wall", "Wall", "Rolf Anstick built the wall.", "", "a")]
    chunks = [Chunk("c", "wall", 0, "Wall", documents[0].text, 5, 0, 28, "")]
    questions = [Question("q", "Who built the wall?", ["Rolf Anstick"], 1, ["wall"])]
    tables: Any = {"documents": (documents, Document), "chunks": (chunks, Chunk), "questions": (questions, Question)}
    corpus = make("corpus", "isles", tables, {"benchmark": {"private": "publish no text"}})
    store = Store(tmp_path / "store")
    with endpoint(lambda prompt: "Rolf Anstick" if "<documents>" in prompt else "Ann") as url:
        run = config(url, [{"kind": "bm25"}, {"kind": "no_context"}])
        with store.attempt("evaluation", "evaluation", "0" * 64, {}, {}) as attempt:
            compared, starts = compare_systems(run, tmp_path, None, {"isles": corpus}, {}, attempt, unheard)
    made = store.find("evaluation", "0" * 64)
    assert made is not None and starts == 0 and not compared.rejects
    answers = made.rows("system_answers", SystemAnswer)
    assert [(row.system, row.answer, row.recalled) for row in answers] == [
        ("bm25", "Rolf Anstick", True), ("no_context", "Ann", False),
    ]  # fmt: skip
    assert json.loads(answers[0].tokens) == {"qwen": [100, 10]}
    pages = {entry.path for entry in made.record.files if entry.path.startswith("comparison/")}
    assert pages == {f"comparison/comparison.{kind}" for kind in ("html", "csv", "json", "tex")}
    assert "publish no text" in made.path("comparison/comparison.html").read_text()


def test_pages_of_a_comparison_go_with_the_settings_that_asked_for_it(make: Make, tmp_path: Path) -> None:
    place = open_place(tmp_path / "run")
    for name in ("comparison.html", "comparison.json", "answers.csv"):
        place.put(f"report/{name}", b"x")
    remove_other_comparison(place, make("evaluation", "isles", {"answers": ([], Answer)}))
    assert [path.name for path in (tmp_path / "run" / "report").iterdir()] == ["answers.csv"]


def test_keys_are_checked_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    model = {"engine": "openai", "base_url": "http://h/v1", "model": "m", "api_key_env": "A_KEY"}
    encoder = {"engine": "transformers", "model": "/nowhere"}
    hipporag = {"kind": "hipporag", "python": sys.executable, "llm": model, "embedding": model}
    for settings, key in (
        ({"systems": [{"kind": "bm25"}], "judge": {"model": model}}, r"judge\.model\.api_key_env"),
        ({"systems": [{"kind": "bm25"}, {"kind": "bm25", "name": "b", "executive": model}]}, r"systems\.1\.executive"),
        ({"systems": [{"kind": "dense", "embedding": model}]}, r"systems\.0\.embedding\.api_key_env"),
        ({"systems": [{"kind": "cartridge", "base": "x", "adapters": "nowhere"}]}, r"systems\.0\.adapters: nowhere"),
        ({"systems": [{"kind": "cartridge"}]}, r"systems\.0\.base: the run's executive is an endpoint"),
        ({"systems": [{**hipporag, "python": "/nowhere"}]}, r"systems\.0\.python: /nowhere: is no interpreter"),
        ({"systems": [hipporag]}, r"systems\.0\.llm\.api_key_env"),
        ({"systems": [{"kind": "dense", "embedding": encoder}]}, r"systems\.0\.embedding\.model: /nowhere"),
        ({"systems": [{"kind": "cartridge", "base": "/nowhere"}]}, r"systems\.0\.base: /nowhere"),
        (
            {"systems": [{"kind": "bm25"}], "paper": "99/qwen"},
            r"paper: 99/qwen: .* there are those of Tables 2, 3, 6, ",
        ),
        (
            {"systems": [{"kind": "bm25", "paper": "3/qwen/9n"}]},
            r"systems\.0\.paper: .* there are 3/qwen/0n, 3/qwen/1n",
        ),
    ):
        comparison = ComparisonConfig.model_validate_json(json.dumps(settings))
        with pytest.raises(ConfigError, match=rf"evaluation\.comparison\.{key}"):
            check_keys(comparison, serving())


def test_a_comparison_without_a_question_is_refused_at_once() -> None:
    corpora = config("http://h/v1", [{"kind": "bm25"}]).corpora
    with pytest.raises(ConfigError, match=r"comparison: there is no question to compare systems on; name a file"):
        check_questions(corpora)
    check_questions([corpora[0].model_copy(update={"questions": "q.jsonl"})])


def test_labelled_answers_are_read_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text('{"question": "Q"}')
    model = {"engine": "openai", "base_url": "http://h/v1", "model": "m"}
    judge = {"model": model, "labelled": str(tmp_path / "labels.jsonl")}
    settings = {"systems": [{"kind": "bm25"}], "judge": judge}
    with pytest.raises(CorpusError, match=r"labels\.jsonl:1: needs question, references, answer and label"):
        check_keys(ComparisonConfig.model_validate_json(json.dumps(settings)), serving())


@pytest.mark.parametrize("option", [{"hybrid": {}}, {"memories": ["a", "b"]}])
def test_options_that_a_comparison_cannot_serve_are_refused_at_once(option: dict[str, Any]) -> None:
    protocol = ProtocolConfig.model_validate_json(json.dumps(option))
    name = next(iter(option))
    plain = ComparisonConfig.model_validate_json(json.dumps({"systems": [{"kind": "bm25"}, {"kind": "memo"}]}))
    with pytest.raises(ConfigError, match=rf"^serving\.protocol\.{name}: .* give the system of kind memo a protocol"):
        check_keys(plain, serving(protocol))
    own = ComparisonConfig.model_validate_json(json.dumps({"systems": [{"kind": "memo", "protocol": option}]}))
    with pytest.raises(ConfigError, match=rf"systems\.0\.protocol\.{name}: .* leave it out"):
        check_keys(own, serving())
    check_keys(ComparisonConfig.model_validate_json(json.dumps({"systems": [{"kind": "bm25"}]})), serving(protocol))


def test_two_systems_of_one_name() -> None:
    with pytest.raises(ConfigError, match=r"evaluation\.comparison: systems: two are called bm25; give one of them"):
        config("http://h/v1", [{"kind": "bm25"}, {"kind": "bm25"}])


def test_an_epoch_that_the_config_names() -> None:
    epochs = ["epoch-1", "epoch-2"]
    assert given_epoch(None, epochs) is None
    found = given_epoch(1, epochs)
    assert found is not None and found["epoch"] == "epoch-1"
    with pytest.raises(ConfigError, match=r"evaluation\.epoch: 3: there are only epoch-1, epoch-2"):
        given_epoch(3, epochs)
