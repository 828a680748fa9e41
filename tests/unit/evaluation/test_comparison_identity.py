"""What a comparison's fingerprint follows, and what it does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from memo_ray.config.comparison import ComparisonConfig
from memo_ray.errors import CorpusError
from memo_ray.evaluation.comparison_identity import semantics


def endpoint(url: str = "http://one/v1", model: str = "m", **more: Any) -> dict[str, Any]:
    return {"engine": "openai", "base_url": url, "model": model, **more}


def of(*systems: dict[str, Any], **more: Any) -> dict[str, Any]:
    return semantics(ComparisonConfig.model_validate_json(json.dumps({"systems": systems, **more})))


def test_prices_addresses_and_speed_stay_out() -> None:
    one = of({"kind": "bm25", "executive": endpoint()}, judge={"model": endpoint()})
    other = of(
        {"kind": "bm25", "executive": endpoint("http://two/v1", api_key_env="A_KEY", concurrency=3)},
        judge={"model": endpoint("http://two/v1")},
        prices={"gpu_hour": 3},
        questions_at_once=2,
    )
    assert one == other


@pytest.mark.parametrize("changed", [{"top_k": 3}, {"executive": endpoint(model="another")}, {"kind": "no_context"}])
def test_what_changes_an_answer_counts(changed: dict[str, Any]) -> None:
    assert of({"kind": "bm25", "executive": endpoint()}) != of({"kind": "bm25", "executive": endpoint(), **changed})


def test_encoders_and_cartridges_count_by_content(tiny_model: Path, tmp_path: Path) -> None:
    def made() -> dict[str, Any]:
        return of(
            {"kind": "dense", "embedding": {"engine": "transformers", "model": str(folder)}},
            {"kind": "cartridge", "base": str(tiny_model), "adapters": str(adapters)},
        )

    folder, adapters = tmp_path / "encoder", tmp_path / "adapters"
    shutil.copytree(tiny_model, folder)
    adapters.mkdir()
    (adapters / "a").write_text("1")
    before = made()
    (adapters / "a").write_text("2")
    assert (after := made()) != before
    folder = folder.rename(tmp_path / "moved")
    assert made() == after
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": 1.0}))
    assert made() != after


def test_labelled_answers_count_by_content(bucket: str, tmp_path: Path) -> None:
    from memo_ray.artifacts.place import open_place

    file = tmp_path / "labelled.jsonl"
    file.write_text("{}")
    open_place(bucket).put("labelled.jsonl", b"{}")
    here = of({"kind": "bm25"}, judge={"model": endpoint(), "labelled": str(file)})
    assert of({"kind": "bm25"}, judge={"model": endpoint(), "labelled": f"{bucket}/labelled.jsonl"}) == here
    file.write_text("{ }")
    assert of({"kind": "bm25"}, judge={"model": endpoint(), "labelled": str(file)}) != here
    with pytest.raises(CorpusError, match=r"none\.jsonl: no such file of labelled answers; correct"):
        of({"kind": "bm25"}, judge={"model": endpoint(), "labelled": str(tmp_path / "none.jsonl")})


def test_pooling_the_corpora_is_another_comparison_and_not_pooling_them_is_none() -> None:
    plain = ComparisonConfig.model_validate_json('{"systems": [{"kind": "bm25"}]}')
    assert "together" not in semantics(plain)["settings"]
    assert semantics(plain.model_copy(update={"together": "whole"}))["settings"]["together"] == "whole"
