"""A base that is not theirs: told from sampled rows before anything is written; no real memory is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memo_ray.config.merging import Linear
from memo_ray.errors import MergeError
from memo_ray.merging import origin
from memo_ray.merging.checks import check
from memo_ray.merging.merge import MergeJob, merge
from memo_ray.merging.origin import check_origin
from tests.unit.merging.test_adapters import SHAPES, make_lora_memory
from tests.unit.merging.tiny import make_base, make_memories, make_memory, rewrite

LINEAR = (Linear(method="linear"),)


@pytest.mark.parametrize("wrong", ["base", "memory"])
@pytest.mark.parametrize("entries", [origin.ENTRIES, 64], ids=["whole", "rows"])
def test_unrelated_models_of_one_shape_are_refused_before_anything_is_written(
    tiny_model: Path, tmp_path: Path, wrong: str, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin, "ENTRIES", entries)
    theirs = make_base(tiny_model, tmp_path / "theirs", dtype="float32")
    other = make_base(tiny_model, tmp_path / "other", seed=1)
    memories = make_memories(theirs, tmp_path, 2)
    if wrong == "memory":
        memories["b"] = make_memory(make_base(tiny_model, tmp_path / "third", dtype="float32", seed=2),
                                    tmp_path / "foreign", seed=3)  # fmt: skip
    base, named = (other, "a") if wrong == "base" else (theirs, "b")
    said = rf"memory {named} was not fine-tuned from {base}: the cosine between their model\.\S+ is -?0\.[012]\d,"
    with pytest.raises(MergeError, match=said) as refused:
        merge(MergeJob(recipes=LINEAR, base=base, memories=memories), tmp_path / "out")
    assert "give the base that it was trained from" in str(refused.value)
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_much_noise_frozen_matrices_and_a_base_of_zeros_are_no_other_base(tiny_model: Path, tmp_path: Path) -> None:
    base = make_base(tiny_model, tmp_path / "base")
    memories = {
        "a": make_memory(base, tmp_path / "a", seed=1, scale=0.04),
        "b": make_memory(base, tmp_path / "b", seed=2),
    }

    def without_layer(tensors: dict) -> dict:
        return tensors | {name: value * 0 for name, value in tensors.items() if "layers.0" in name}

    rewrite(base, without_layer)
    rewrite(
        memories["b"],
        lambda tensors: tensors | {name: value * 30 for name, value in tensors.items() if "q_proj" in name},
    )
    check_origin(check(base, memories))


def lora_memories(tiny_model: Path, folder: Path, dtype: str = "bfloat16") -> tuple[Path, dict[str, Path]]:
    base = make_base(tiny_model, folder / "base", dtype=dtype)
    return base, {name: make_lora_memory(base, folder / name, lora, 1) for name, lora in SHAPES.items()}


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_adapters_folded_into_this_base_pass_whatever_their_configs_call_it(
    tiny_model: Path, tmp_path: Path, dtype: str
) -> None:
    base, memories = lora_memories(tiny_model, tmp_path, dtype)
    config = memories["b"] / "adapter" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "a/mirror"}))
    check_origin(check(base, memories, adapters=True))


def test_adapters_of_a_near_relative_of_the_base_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    theirs, memories = lora_memories(tiny_model, tmp_path)
    relative = make_memory(theirs, tmp_path / "relative", seed=9, scale=0.003)
    check_origin(check(relative, memories))  # so near that full models would pass
    with pytest.raises(MergeError, match=rf"/a/adapter: memory a's \S+ is not that of {relative} .*names tiny\)"):
        merge(MergeJob(recipes=LINEAR, base=relative, memories=memories, adapters=True), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_adapter_beside_weights_that_it_was_not_folded_into_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    base, memories = lora_memories(tiny_model, tmp_path)
    (memories["a"] / "model.safetensors").write_bytes((base / "model.safetensors").read_bytes())
    with pytest.raises(MergeError, match="/a/adapter: memory a's"):
        check_origin(check(base, memories, adapters=True))
