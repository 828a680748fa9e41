"""What headers tell is told before tensors are read, and before an engine starts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from memo_ray.config.merging import Linear, MergingConfig
from memo_ray.errors import MergeError
from memo_ray.merging import checks
from memo_ray.merging.checks import check
from memo_ray.merging.merge import MergeJob, merge
from memo_ray.merging.stage import check_trained
from tests.unit.merging.tiny import make_base, make_memories, rewrite


@pytest.fixture
def made(tiny_model: Path, tmp_path: Path) -> Path:
    make_memories(make_base(tiny_model, tmp_path / "base"), tmp_path, 2)
    return tmp_path


def with_a_short_norm_and_a_twin(tensors: dict[str, Any]) -> dict[str, Any]:
    norm, head = tensors["model.norm.weight"], tensors["model.embed_tokens.weight"]
    return tensors | {"model.norm.weight": norm[:16].clone(), "lm_head.weight": head.clone()}


def test_shapes_are_compared_before_tensors_are_read(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rewrite(made / "a", with_a_short_norm_and_a_twin)
    read: list[object] = []
    monkeypatch.setattr(checks, "_equal", lambda *tensors: read.append(tensors) or True)
    with pytest.raises(MergeError, match=r"/a: model\.norm\.weight has the shape \[16\]"):
        check(made / "base", {"a": made / "a", "b": made / "b"})
    assert read == []


def test_the_first_epochs_of_a_run_are_checked(made: Path) -> None:
    def training(name: str) -> Any:
        files = [SimpleNamespace(path=f"epoch-{n}/config.json") for n in (1, 2)]
        return SimpleNamespace(
            record=SimpleNamespace(files=files), location=lambda epoch: made / (name if epoch == "epoch-1" else "later")
        )

    config = cast(Any, SimpleNamespace(merging=MergingConfig()))
    results = cast(Any, SimpleNamespace(training={name: training(name) for name in "ab"}))
    check_trained(config, made / "base", results)
    rewrite(made / "b", with_a_short_norm_and_a_twin)
    with pytest.raises(MergeError, match=r"/b: model\.norm\.weight has the shape"):
        check_trained(config, made / "base", results)


def test_a_place_where_no_folder_can_be_made_is_named(made: Path) -> None:
    (made / "file").write_text("no folder")
    memories = {"a": made / "a", "b": made / "b"}
    job = MergeJob(recipes=(Linear(method="linear"),), base=made / "base", memories=memories)
    with pytest.raises(MergeError, match=r"/file: no folder can be made there \(.+\); name another place"):
        merge(job, made / "file" / "out")
    assert (made / "file").read_text() == "no folder"
