"""Model folders, histories and links, without training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memo_ray.artifacts.place import open_place
from memo_ray.training.background import HostCopies
from memo_ray.training.checkpoints import (
    Epoch,
    History,
    newest_state,
    remove_states,
    save_model,
    save_tokenizer,
    stored_type,
    tied_names,
)


def test_a_history_comes_back(tmp_path: Path) -> None:
    history = History(2, [Epoch([0.5, 0.25], 0.3, 10, 12, 4)], Epoch([0.2], tokens=7), resumed_from=[1])
    place = open_place(tmp_path)
    history.save(place)
    assert History.load(place) == history
    assert history.steps == 3
    assert [path.name for path in tmp_path.iterdir()] == ["history.json"]
    assert History.load(place.child("nowhere")) is None


def test_the_newest_complete_state_counts(tmp_path: Path) -> None:
    states = open_place(tmp_path)
    for name, losses in (("step-00000001-a", [0.5]), ("step-00000002-b", [0.5, 0.4])):
        History(1, begun=Epoch(losses)).save(states.child(name))
    states.put("step-00000003-c/worker-00000/zero.safetensors", b"half")  # killed before its history
    newest = newest_state(states)
    assert newest is not None and newest.url == states.child("step-00000002-b").url
    remove_states(states, but=newest)
    assert states.folders() == ["step-00000002-b"]
    assert newest_state(states.child("nowhere")) is None


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_a_saved_model_is_whole_and_of_its_bases_type(precision: str, tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = tmp_path / "base"
    AutoModelForCausalLM.from_pretrained(tiny_model, dtype=getattr(torch, precision)).save_pretrained(base)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(base)
    # Published models often name sampling settings without sampling, which transformers refuses to write.
    (base / "generation_config.json").write_text(
        json.dumps({"do_sample": False, "temperature": 0.6, "eos_token_id": 2})
    )
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    folder = tmp_path / "epoch-1"
    weights = HostCopies(model.device).take(model.state_dict().items(), stored_type(base, model), tied_names(model))
    save_tokenizer(base, tmp_path / "tokenizer")
    save_model(model, folder, weights, tmp_path / "tokenizer")
    assert not list(folder.glob("*.bin"))
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {getattr(torch, precision)}  # noqa: SIM118
        assert "lm_head.weight" not in weights.keys(), "tied weights are stored once"  # noqa: SIM118
    assert (folder / "generation_config.json").read_bytes() == (base / "generation_config.json").read_bytes()
    again = AutoModelForCausalLM.from_pretrained(folder)
    assert again.dtype == getattr(torch, precision)
    ids = torch.tensor([[5, 6, 7]])
    tolerance = 1e-5 if precision == "float32" else 0.02
    torch.testing.assert_close(again.float()(ids).logits, model(ids).logits, atol=tolerance, rtol=tolerance)
    turns = [{"role": "user", "content": "Who kept the lighthouse?"}]
    asked = [
        AutoTokenizer.from_pretrained(one).apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        for one in (base, folder)
    ]
    assert asked[0] == asked[1]
