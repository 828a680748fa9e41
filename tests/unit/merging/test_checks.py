"""Every reason for which memories are not merged, and that it is told before anything is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from memo_ray.errors import MergeError
from memo_ray.merging import checks
from memo_ray.merging.checks import check, check_bases, check_disk
from memo_ray.merging.headers import read_tensors
from tests.unit.merging.tiny import make_base, make_memories, make_memory, rewrite


@pytest.fixture(scope="module")
def made(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base`, `a` and `b`, in bfloat16 and tied."""
    folder = tmp_path_factory.mktemp("made")
    base = make_base(tiny_model, folder / "base")
    make_memories(base, folder, 2)
    return folder


@pytest.fixture
def inputs(made: Path, tmp_path: Path) -> Path:
    """A copy of them that a test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "inputs"))


def checked(folder: Path) -> checks.Inputs:
    return check(folder / "base", {"a": folder / "a", "b": folder / "b"})


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_inputs_that_fit_say_what_a_merge_needs(made: Path) -> None:
    found = checked(made)
    assert found.dtype == "bfloat16"
    assert "lm_head.weight" not in found.tensors
    parameters = sum(tensor.elements for tensor in found.tensors.values())
    assert found.disk_bytes == 2 * parameters


def test_settings_that_do_not_change_the_model_may_differ(inputs: Path) -> None:
    edit(inputs / "a" / "config.json", use_cache=False, pad_token_id=2, transformers_version="4.50.0")
    assert checked(inputs).tensors


def no_config(folder: Path) -> None:
    (folder / "a" / "config.json").unlink()


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder / "b")


def no_tokenizer(folder: Path) -> None:
    for path in (folder / "a").glob("tokenizer*"):
        path.unlink()


def other_vocabulary(folder: Path) -> None:
    path = folder / "a" / "tokenizer.json"
    data = json.loads(path.read_text())
    vocabulary = data["model"]["vocab"]
    first, second = sorted(vocabulary)[:2]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    path.write_text(json.dumps(data))


def other_merges(folder: Path) -> None:
    path = folder / "a" / "tokenizer.json"
    data = json.loads(path.read_text())
    data["model"]["merges"].reverse()
    path.write_text(json.dumps(data))


def other_template(folder: Path) -> None:
    (folder / "b" / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")


def other_architecture(folder: Path) -> None:
    edit(folder / "a" / "config.json", architectures=["Qwen2ForCausalLM"])


def other_settings(folder: Path) -> None:
    edit(folder / "a" / "config.json", rms_norm_eps=0.5)


def damaged_config(folder: Path) -> None:
    (folder / "a" / "config.json").write_text("{")


def unknown_model(folder: Path) -> None:
    for name in ("base", "a", "b"):
        edit(folder / name / "config.json", model_type="of_my_own", auto_map={"AutoConfig": "mine.Config"})


def no_causal_model(folder: Path) -> None:
    for name in ("base", "a", "b"):
        edit(folder / name / "config.json", model_type="vit", architectures=["ViTModel"])


def two_architectures(folder: Path) -> None:
    for name in ("base", "a", "b"):
        edit(folder / name / "config.json", architectures=["LlamaForCausalLM", "MistralForCausalLM"])


def quantised(folder: Path) -> None:
    edit(folder / "base" / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})


def pickled(folder: Path) -> None:
    (folder / "b" / "model.safetensors").rename(folder / "b" / "pytorch_model.bin")


def truncated(folder: Path) -> None:
    path = folder / "b" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def no_header(folder: Path) -> None:
    (folder / "b" / "model.safetensors").write_bytes(b"not a safetensors file")


def other_shape(folder: Path) -> None:
    rewrite(folder / "a", lambda tensors: tensors | {"model.norm.weight": tensors["model.norm.weight"][:16].clone()})


def lacking(folder: Path) -> None:
    rewrite(folder / "a", lambda tensors: {name: t for name, t in tensors.items() if name != "model.norm.weight"})


def an_adapter(folder: Path) -> None:
    rewrite(folder / "a", lambda tensors: tensors | {"adapter.lora_A": tensors["model.norm.weight"].clone()})


def other_dtype(folder: Path) -> None:
    rewrite(folder / "a", lambda tensors: {name: tensor.float() for name, tensor in tensors.items()})


def mixed_dtypes(folder: Path) -> None:
    for name in ("base", "a", "b"):
        rewrite(folder / name, lambda ts: ts | {"model.norm.weight": ts["model.norm.weight"].float()})


def whole_numbers(folder: Path) -> None:
    rewrite(folder / "base", lambda tensors: {name: tensor.int() for name, tensor in tensors.items()})


def untied_by_stealth(folder: Path) -> None:
    rewrite(folder / "b", lambda ts: ts | {"lm_head.weight": ts["model.embed_tokens.weight"] + 1})


def head_alone(folder: Path) -> None:
    def rename(tensors: dict) -> dict:
        return tensors | {"lm_head.weight": tensors.pop("model.embed_tokens.weight")}

    rewrite(folder / "b", rename)


def same_folder(folder: Path) -> None:
    shutil.rmtree(folder / "b")
    (folder / "b").symlink_to(folder / "a")


def bad_index(folder: Path) -> None:
    (folder / "a" / "model.safetensors.index.json").write_text('{"weights": {}}')


def index_that_lies(folder: Path) -> None:
    index = {"weight_map": {"model.other.weight": "model.safetensors"}}
    (folder / "a" / "model.safetensors.index.json").write_text(json.dumps(index))


def index_without_its_file(folder: Path) -> None:
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00001.safetensors"}}
    (folder / "a" / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (no_config, r"/a: holds no config\.json"),
        (no_folder, r"/b: holds no config\.json"),
        (no_tokenizer, "/a: holds no tokenizer that can be read"),
        (other_vocabulary, "/a: its tokenizer has another vocabulary than that of its base"),
        (other_merges, "/a: its tokenizer has another way of splitting text than that of its base"),
        (other_template, "/b: its tokenizer has another chat template than that of its base"),
        (other_architecture, r"/a: has the architecture \['Qwen2ForCausalLM'\]"),
        (other_settings, r"/a/config\.json: rms_norm_eps is 0\.5"),
        (damaged_config, r"/a/config\.json: cannot be read"),
        (unknown_model, r"/base/config\.json: cannot be read"),
        (no_causal_model, "/base: ViTModel is no causal language model"),
        (two_architectures, "must name one class in `architectures`"),
        (quantised, "/base: is quantised"),
        (pickled, r"/b: holds no model\.safetensors"),
        (truncated, r"/b/model\.safetensors: is missing or damaged"),
        (no_header, r"/b/model\.safetensors: is missing or damaged"),
        (other_shape, r"/a: model\.norm\.weight has the shape \[16\]"),
        (lacking, r"/a: lacks model\.norm\.weight"),
        (an_adapter, r"/a: has adapter\.lora_A"),
        (other_dtype, r"/b: is stored as BF16, .*/a as F32"),
        (mixed_dtypes, "/a: stores its tensors as BF16, F32"),
        (whole_numbers, "/base: stores its tensors as I32"),
        (untied_by_stealth, r"/b: config\.json ties lm_head\.weight to model\.embed_tokens\.weight, but .* differ"),
        (head_alone, r"/b: stores the tied model\.embed_tokens\.weight only as lm_head\.weight"),
        (same_folder, "/b: is given as memory a and as memory b"),
        (bad_index, r"index\.json: is not an index"),
        (index_that_lies, r"index\.json: lists model\.other\.weight, which model\.safetensors lacks"),
        (index_without_its_file, r"model-00001-of-00001\.safetensors: is missing or damaged"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_merged_is_refused_with_its_folder(
    spoil: Callable[[Path], None], message: str, inputs: Path
) -> None:
    spoil(inputs)
    with pytest.raises(MergeError, match=message):
        checked(inputs)


def test_a_memory_of_another_size_is_not_of_this_base(made: Path, tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(tiny_model)
    config.num_hidden_layers = 3
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(tmp_path / "deep")
    with pytest.raises(MergeError, match=r"deep/config\.json: num_hidden_layers is 3, in its base .*/base 2"):
        check(made / "base", {"a": made / "a", "deep": tmp_path / "deep"})


def test_the_base_is_no_memory_and_one_memory_is_no_merge(made: Path) -> None:
    with pytest.raises(MergeError, match="is given as base and as memory b"):
        check(made / "base", {"a": made / "a", "b": made / "base"})
    with pytest.raises(MergeError, match="two or more memories"):
        check(made / "base", {"a": made / "a"})


def test_a_base_in_another_format_is_cast(inputs: Path) -> None:
    assert not checked(inputs).cast_base
    rewrite(inputs / "base", lambda ts: ts | {"model.norm.weight": ts["model.norm.weight"].float()})
    found = checked(inputs)
    assert found.cast_base
    assert found.dtype == "bfloat16"


def test_a_stored_twin_of_a_tied_tensor_is_left_out(inputs: Path) -> None:
    rewrite(inputs / "a", lambda ts: ts | {"lm_head.weight": ts["model.embed_tokens.weight"].clone()})
    assert "lm_head.weight" not in checked(inputs).tensors


def test_a_buffer_of_an_old_release_in_the_base_alone_is_left_out(inputs: Path) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    rewrite(inputs / "base", lambda ts: ts | {name: ts["model.norm.weight"].clone()})
    assert name not in checked(inputs).tensors


def test_untied_heads_are_merged(tiny_model: Path, tmp_path: Path) -> None:
    base = make_base(tiny_model, tmp_path / "base", tied=False)
    found = check(base, {name: make_memory(base, tmp_path / name, seed=n) for n, name in enumerate("ab")})
    assert "lm_head.weight" in found.tensors


def test_headers_tell_where_each_tensor_lies(made: Path) -> None:
    import torch
    from safetensors.torch import load_file

    tensors, loaded = read_tensors(made / "base"), load_file(made / "base" / "model.safetensors")
    assert {name: tensor.shape for name, tensor in tensors.items()} == {n: tuple(t.shape) for n, t in loaded.items()}
    norm = tensors["model.norm.weight"]
    with norm.file.open("rb") as file:
        file.seek(norm.start)
        stored = file.read(norm.end - norm.start)
    assert stored == loaded["model.norm.weight"].view(torch.int16).numpy().tobytes()


def test_a_disk_that_is_too_small_is_named_with_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    check_disk(tmp_path, 10**9)
    with pytest.raises(MergeError, match=r"needs 28\.00 GB and 1\.00 GB are free"):
        check_disk(tmp_path, 28 * 10**9)


def test_a_memory_of_another_base_is_refused_by_its_record() -> None:
    check_bases("tiny", "0123", {"law": "0123", "wiki": "0123"})
    with pytest.raises(MergeError, match=r"the memory wiki was trained from another base than training\.base \(tiny\)"):
        check_bases("tiny", "0123", {"law": "0123", "wiki": "4567"})
