"""The geometry of task vectors against NumPy on whole tensors, and on vectors whose angles are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from memo_ray.merging import geometry
from memo_ray.merging.checks import check
from memo_ray.merging.geometry import Layer, layer_of, measure, pair
from tests.unit.merging.tiny import make_base, make_memories, read


@pytest.fixture(scope="module", params=["bfloat16", "float32"])
def made(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base` in either format and three memories."""
    folder = tmp_path_factory.mktemp("made")
    make_memories(make_base(tiny_model, folder / "base", dtype=request.param), folder, 3)
    return folder


def vectors(made: Path, prefix: str = "") -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """The base's entries whose tensors' names hold `prefix`, and the task vectors there."""
    base = read(made / "base")
    names = [name for name in read(made / "a") if prefix in name]
    flat = {
        folder: np.concatenate([read(made / folder)[name].ravel() for name in names]).astype(np.float64)
        for folder in ("base", "a", "b", "c")
    }
    assert set(names) <= base.keys()
    return flat["base"], {name: flat[name] - flat["base"] for name in ("a", "b", "c")}


def assert_is(found: Layer, base: np.ndarray, tau: dict[str, np.ndarray]) -> None:
    assert found.elements == base.size
    assert found.base_norm == pytest.approx(np.linalg.norm(base), rel=1e-5)
    assert found.norms == pytest.approx({name: np.linalg.norm(one) for name, one in tau.items()}, rel=1e-5)
    for one, other in (("a", "b"), ("a", "c"), ("b", "c")):
        product = tau[one] * tau[other]
        cosine = product.sum() / (np.linalg.norm(tau[one]) * np.linalg.norm(tau[other]))
        assert found.cosine[pair(one, other)] == pytest.approx(cosine, abs=1e-5)
        conflict = np.abs(product)[product < 0].sum() / np.abs(product).sum()
        assert found.conflict[pair(one, other)] == pytest.approx(conflict, abs=1e-5)
    along = {name: one @ sum(tau.values()) for name, one in tau.items()}
    whole = np.linalg.norm(sum(tau.values()))
    for name, one in tau.items():
        share = (along[name] / (np.linalg.norm(one) * whole)) ** 2
        assert found.own_share(name) == pytest.approx(share, abs=1e-5)


@pytest.mark.parametrize("size", [geometry.SLICE, 100])
def test_every_layer_and_all_of_them_agree_with_numpy(made: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(geometry, "SLICE", size)
    found = measure(check(made / "base", {name: made / name for name in "abc"}))
    assert_is(found.overall, *vectors(made))
    named = {layer.name: layer for layer in found.layers}
    assert set(named) == {"embeddings", "layer 0", "layer 1", "other"}
    assert_is(named["layer 1"], *vectors(made, "layers.1."))


def test_a_memory_that_learned_nothing_has_no_direction() -> None:
    layer = Layer("all", 4, 2.0, {"a": 0.0, "b": 1.0}, {"a & b": 0.0}, {"a & b": 0.0})
    assert (layer.own_share("a"), layer.own_share("b"), layer.relative("b")) == (0.0, 1.0, 0.5)


@pytest.mark.parametrize(("cosine", "share"), [(0.0, 0.5), (1.0, 1.0), (-1.0, 0.0), (0.5, 0.75)])
def test_the_own_share_of_two_equal_memories_follows_their_angle(cosine: float, share: float) -> None:
    layer = Layer("all", 4, 1.0, {"a": 2.0, "b": 2.0}, {"a & b": cosine}, {"a & b": 0.0})
    assert layer.own_share("a") == layer.own_share("b") == pytest.approx(share)


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("model.layers.11.mlp.up_proj.weight", "layer 11"),
        ("transformer.h.3.attn.weight", "layer 3"),
        ("model.embed_tokens.weight", "embeddings"),
        ("lm_head.weight", "head"),
        ("model.norm.weight", "other"),
    ],
)
def test_tensors_belong_to_layers_by_their_names(tensor: str, layer: str) -> None:
    assert layer_of(tensor) == layer
