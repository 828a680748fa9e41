import json
from typing import Any

import pytest

from memo_ray.artifacts.owner import this_process
from memo_ray.artifacts.registry import Registry
from memo_ray.asking import ADDRESS
from memo_ray.continual.describe import certificate_of, forgotten_text, leftovers, still_served
from memo_ray.continual.probes import recall
from memo_ray.continual.registering import register
from memo_ray.errors import StoreError
from memo_ray.results import stored_results
from memo_ray.workspace import Workspace


def test_what_the_run_no_longer_uses_is_listed(run: Workspace) -> None:
    assert leftovers(run) == []
    run.note("synthesis-law", "2" * 64)
    assert leftovers(run) == ["synthesis-law/1111111111111111", "training-law/1111111111111111"]


def test_what_a_standing_version_uses_is_not(run: Workspace) -> None:
    (memory,) = register(run, stored_results(run), epoch="epoch-1")
    run.unnote(["training-law"])
    assert leftovers(run) == []
    Registry(run.place).withdraw(memory.name, memory.version)
    assert leftovers(run) == ["training-law/1111111111111111"]


def test_the_figures_are_told_and_what_is_not_forgotten_too(run: Workspace) -> None:
    told: dict[str, Any] = {
        "document": {"id": "bell"}, "corpus": "law", "how": "retrain",
        "recall": {"base": {"own": recall(0, 4), "others": recall(0, 0)}, "isles@2": {"own": recall(3, 4)}},
        "verdict": {"at_base_level": True, "n": 12, "rest_kept": 0.96, "others_kept": None},
        "copies": [{"corpus": "wiki", "id": "ring"}],
    }  # fmt: skip
    text = forgotten_text(run, "registry/isles/2.certificate.json", told)
    assert "forgotten: bell of corpus law, by retrain" in text
    assert "recall: own 0.00 of 4\n" in text and "own 0.75 of 4" in text and "others" not in text
    assert "still answered" not in text
    assert "its own questions (12) are answered no better than the base does" in text
    assert "the rest of its corpus: 0.96 of its recall before, less than the 0.97 to be expected" in text
    assert "the same text is still learnt as ring of corpus wiki: memo forget" in text and "ring --corpus wiki" in text
    told["verdict"] |= {"at_base_level": None, "rest_kept": 0.98, "others_kept": 1.0}
    text = forgotten_text(run, "c.json", told)
    assert "too few to tell" in text and "the other corpora: 1.00 of" in text and "to be expected" not in text
    told["verdict"]["at_base_level"] = False
    assert "still answered better than the base" in forgotten_text(run, "c.json", told)


def test_a_server_that_goes_on_with_the_memory_before_is_named(run: Workspace) -> None:
    assert still_served(run) == []
    run.keep(ADDRESS, json.dumps({"url": "http://127.0.0.1:1", **this_process()}))
    assert "still answers from the memory before" in still_served(run)[0]
    serving = run.config.serving.model_copy(update={"memories": ("isles",)})
    assert still_served(Workspace(run.config.model_copy(update={"serving": serving}), run.console)) == []


def test_a_certificate_that_is_gone_is_named(run: Workspace) -> None:
    with pytest.raises(StoreError, match=r"2\.certificate\.json: is gone"):
        certificate_of(run, "registry/isles/2.certificate.json")
