"""Folders whose text is the same are checked without transformers, and come to the same as with it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from memo_ray.merging import checks
from memo_ray.merging.alike import EMBEDDINGS, HEAD, alike
from memo_ray.merging.checks import check
from memo_ray.merging.headers import read_tensors
from tests.unit.merging.tiny import make_base, make_memories, rewrite


@pytest.fixture(params=[True, False], ids=["tied", "untied"])
def either(request: pytest.FixtureRequest, tiny_model: Path, tmp_path: Path) -> Path:
    """A folder with `base`, `a` and `b`."""
    make_memories(make_base(tiny_model, tmp_path / "base", tied=request.param), tmp_path, 2)
    return tmp_path


@pytest.fixture
def tied(tiny_model: Path, tmp_path: Path) -> Path:
    make_memories(make_base(tiny_model, tmp_path / "base"), tmp_path, 2)
    return tmp_path


def are_alike(folder: Path) -> bool:
    paths = [folder / name for name in ("base", "a", "b")]
    return alike(paths[0], paths[1:], {path: read_tensors(path) for path in paths})


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def in_all(**changes: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for name in ("base", "a", "b"):
            edit(folder / name / "config.json", **changes)

    return spoil


def a_head_beside_tied_embeddings(folder: Path) -> None:
    for name in ("base", "a", "b"):
        rewrite(folder / name, lambda tensors: tensors | {HEAD: tensors[EMBEDDINGS].clone()})


def a_head_in_one(folder: Path) -> None:
    rewrite(folder / "b", lambda tensors: tensors | {HEAD: tensors[EMBEDDINGS].clone()})


def a_tokenizer_that_nobody_reads(folder: Path) -> None:
    for name in ("base", "a", "b"):
        (folder / name / "tokenizer.json").write_text("{}")


def test_what_is_alike_comes_to_the_same_without_transformers(either: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert are_alike(either)
    memories = {name: either / name for name in ("a", "b")}
    found = check(either / "base", memories)
    monkeypatch.setattr(checks, "alike", lambda *_: False)
    assert check(either / "base", memories) == found


def test_a_merge_of_what_is_alike_imports_no_transformers(tied: Path) -> None:
    memories = {name: str(tied / name) for name in ("a", "b")}
    job = {"recipes": [{"method": "linear"}], "base": str(tied / "base"), "memories": memories}
    (tied / "job.json").write_text(json.dumps(job))
    code = (
        "import sys; from memo_ray.merging.merge import main; "
        "assert not main(sys.argv[1:]); assert 'transformers' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(tied / "job.json"), str(tied / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_tensors(tied / "out" / "linear").keys() == read_tensors(tied / "base").keys()


def test_settings_that_are_not_the_models_may_differ(tied: Path) -> None:
    edit(tied / "a" / "config.json", use_cache=False, pad_token_id=2, transformers_version="4.50.0", _name="x")
    edit(tied / "b" / "tokenizer_config.json", local_files_only=True)
    assert are_alike(tied)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: edit(folder / "a" / "config.json", rope_theta=5.0),
        lambda folder: edit(folder / "b" / "config.json", architectures=["Qwen2ForCausalLM"]),
        lambda folder: (folder / "a" / "config.json").write_text("["),
        lambda folder: (folder / "b" / "chat_template.jinja").write_text("{{ messages }}"),
        lambda folder: (folder / "b" / "tokenizer.json").unlink(),
        lambda folder: edit(folder / "b" / "tokenizer_config.json", add_bos_token=True),
        in_all(architectures=["GPT2LMHeadModel"]),
        in_all(architectures=[["LlamaForCausalLM"]]),
        in_all(model_type="qwen2"),
        in_all(num_attention_heads=0),
        in_all(hidden_size=-5),
        in_all(tie_word_embeddings=False),
        in_all(quantization_config={"bits": 4}),
        in_all(auto_map={"AutoModelForCausalLM": "x.X"}),
        a_head_beside_tied_embeddings,
        a_head_in_one,
        a_tokenizer_that_nobody_reads,
    ],
)
def test_everything_else_is_left_to_transformers(spoil: Callable[[Path], object], tied: Path) -> None:
    spoil(tied)
    assert not are_alike(tied)
