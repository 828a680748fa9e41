"""Every method against the paper's equation in NumPy, and what a merged folder holds."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from memo_ray.config.merging import DareLinear, DareTies, Linear, MergeRecipe, Slerp, TaskArithmetic, Ties
from memo_ray.errors import MergeError
from memo_ray.merging import merge as merging
from memo_ray.merging import weights
from memo_ray.merging.headers import read_tensors
from memo_ray.merging.merge import MergeJob, merge
from memo_ray.merging.recipes import PAPER, mergekit_config, recipe_id
from tests.unit.merging.equations import expected
from tests.unit.merging.tiny import Weights, make_base, make_memories, make_memory, read, rewrite

QUESTION = [1, 40, 60, 17, 99, 4, 23]
"""Token ids that the tiny model is asked to continue."""


@pytest.fixture(scope="module", params=["tied", "untied"])
def inputs(request: pytest.FixtureRequest, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory):
    """A base in bfloat16 and three memories of it, with tied and with untied embeddings."""
    folder = tmp_path_factory.mktemp(request.param)
    base = make_base(tiny_model, folder / "base", tied=request.param == "tied")
    return base, make_memories(base, folder, 3)


def undefined(recipe: MergeRecipe, taus: Sequence[np.ndarray]) -> np.ndarray:
    """Where the equation leaves a choice: of several entries exactly at the threshold of trimming, some are kept."""
    free = np.zeros(taus[0].shape, bool)
    if isinstance(recipe, Ties) and recipe.density < 1:
        for tau in taus:
            smallest_kept = np.sort(np.abs(tau), axis=None)[-int(recipe.density * tau.size)]
            free |= np.abs(tau) == smallest_kept
    return free


def distance(recipe: MergeRecipe, got: Weights, base: Weights, memories: Sequence[Weights]) -> float:
    """How far a merge is from the equation at most, in units of the last place."""
    wanted = expected(recipe, base, memories)
    assert got.keys() == wanted.keys()
    free = {name: undefined(recipe, [memory[name] - base[name] for memory in memories]) for name in got}
    assert np.mean(np.concatenate([mask.ravel() for mask in free.values()])) < 0.05
    return max(ulps(got[name][~free[name]], wanted[name][~free[name]]) for name in got if not free[name].all())


def ulps(got: np.ndarray, wanted: np.ndarray) -> float:
    """The largest distance in units of the last place of a bfloat16 (8 significant bits) at the wanted value.

    Where base and task vector cancel to almost nothing, float32's own rounding of the two is what counts.
    """
    last_place = 2.0 ** (np.floor(np.log2(np.maximum(np.abs(wanted), 2.0**-16))) - 7)
    return float(np.max(np.abs(got - wanted) / last_place))


def merge_one(recipe: MergeRecipe, base: Path, memories: dict[str, Path], out: Path) -> Path:
    """The folder of a merge by one recipe."""
    merge(MergeJob(recipes=(recipe,), base=base, memories=memories, threads=2), out)
    return out / recipe_id(recipe)


RECIPES: list[MergeRecipe] = [
    Linear(method="linear"),
    TaskArithmetic(method="task_arithmetic"),
    TaskArithmetic(method="task_arithmetic", scale=0.4),
    Slerp(method="slerp", t=0.3),
    Ties(method="ties", density=0.3),
    Ties(method="ties", density=1.0),
    DareLinear(method="dare_linear", density=0.3),
    DareLinear(method="dare_linear", density=0.7, seed=5),
    DareTies(method="dare_ties", density=0.3),
    DareTies(method="dare_ties", density=0.7, seed=5),
]


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("recipe", RECIPES, ids=recipe_id)
def test_a_merge_is_the_papers_equation_to_one_unit_in_the_last_place(
    recipe: MergeRecipe, count: int, inputs, tmp_path: Path
) -> None:
    base, memories = inputs
    if isinstance(recipe, Slerp) and count != 2:
        pytest.skip("SLERP is defined for two")
    chosen = dict(list(memories.items())[:count])
    out = merge_one(recipe, base, chosen, tmp_path / "out")
    assert distance(recipe, read(out), read(base), [read(path) for path in chosen.values()]) <= 1


@pytest.mark.parametrize(("t", "which"), [(0.0, "a"), (1.0, "b")])
def test_slerps_ends_are_the_two_memories_in_their_order(t: float, which: str, inputs, tmp_path: Path) -> None:
    base, memories = inputs
    pair = {name: memories[name] for name in ("a", "b")}
    out = merge_one(Slerp(method="slerp", t=t), base, pair, tmp_path / "out")
    got, wanted = read(out), read(memories[which])
    assert max(ulps(got[name], wanted[name]) for name in got) <= 1


def test_dare_keeps_the_share_it_is_told_and_its_seed_decides_which(inputs, tmp_path: Path) -> None:
    base, memories = inputs
    pair = {name: memories[name] for name in ("a", "b")}

    def dropped_by_both(seed: int, name: str) -> np.ndarray:
        recipe = DareLinear(method="dare_linear", density=0.3, seed=seed)
        merged, before = read(merge_one(recipe, base, pair, tmp_path / name)), read(base)
        return np.concatenate([(merged[key] == before[key]).ravel() for key in sorted(before)])

    first, again, other = dropped_by_both(1, "first"), dropped_by_both(1, "again"), dropped_by_both(2, "other")
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    # 0.7 * 0.7 of the entries lose both task vectors; a few more are moved by less than half a unit in the last place.
    assert first.mean() == pytest.approx(0.49, abs=0.04)


def test_a_merged_folder_is_a_whole_model_in_the_bases_format(inputs, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, memories = inputs
    out = merge_one(Linear(method="linear"), base, memories, tmp_path / "out")
    tied = json.loads((base / "config.json").read_text())["tie_word_embeddings"]
    assert ("lm_head.weight" in read(out)) is not tied
    assert {path.suffix for path in out.iterdir()} <= {".json", ".safetensors", ".jinja"}
    assert (out / "config.json").read_bytes() == (base / "config.json").read_bytes()
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(base).chat_template

    model = AutoModelForCausalLM.from_pretrained(out, dtype="auto")
    assert model.dtype == torch.bfloat16
    by_hand = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    wanted = expected(Linear(method="linear"), read(base), [read(path) for path in memories.values()])
    missing = by_hand.load_state_dict({name: torch.tensor(w) for name, w in wanted.items()}, strict=False)
    assert missing.unexpected_keys == []
    by_hand.tie_weights()
    with torch.no_grad():
        logits = model.float()(torch.tensor([QUESTION])).logits
        torch.testing.assert_close(logits, by_hand(torch.tensor([QUESTION])).logits, atol=0.05, rtol=0.02)


def test_a_tied_head_that_a_memory_stores_a_second_time_does_not_become_independent(
    tiny_model: Path, tmp_path: Path
) -> None:
    base = make_base(tiny_model, tmp_path / "base", tied=True)
    memories = make_memories(base, tmp_path, 2)
    rewrite(memories["a"], lambda tensors: tensors | {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()})
    assert "lm_head.weight" in read(memories["a"])
    recipe = Ties(method="ties", density=0.5)
    out = merge_one(recipe, base, memories, tmp_path / "out")
    assert "lm_head.weight" not in read(out)
    assert distance(recipe, read(out), read(base), [read(path) for path in memories.values()]) <= 1


def test_folders_may_have_any_name_and_weights_may_be_sharded(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    base = make_base(tiny_model, tmp_path / "base+adapter@v1 of mine")
    memories = {"a": make_memory(base, tmp_path / "a", seed=1), "b": tmp_path / "b @+"}
    memory = make_memory(base, tmp_path / "whole", seed=2)
    AutoModelForCausalLM.from_pretrained(memory, dtype="auto").save_pretrained(memories["b"], max_shard_size="20KB")
    for path in memory.glob("tokenizer*"):
        shutil.copy(path, memories["b"])
    shutil.copy(memory / "chat_template.jinja", memories["b"])
    assert len(list(memories["b"].glob("*.safetensors"))) > 1
    read_back = read(merge_one(Linear(method="linear"), base, memories, tmp_path / "out"))
    assert distance(Linear(method="linear"), read_back, read(base), [read(tmp_path / "a"), read(memory)]) <= 1


def test_a_base_in_another_format_is_what_training_made_of_it(tiny_model: Path, tmp_path: Path) -> None:
    """A base in float32 and memories in bfloat16: the base's rounding to bfloat16 is no part of a task vector."""
    import torch
    from safetensors.torch import load_file, save_file

    base = make_base(tiny_model, tmp_path / "base", dtype="float32")
    started = Path(shutil.copytree(base, tmp_path / "started"))
    rounded = {name: tensor.bfloat16() for name, tensor in load_file(base / "model.safetensors").items()}
    save_file(rounded, started / "model.safetensors", metadata={"format": "pt"})
    memories = {name: Path(shutil.copytree(started, tmp_path / name)) for name in ("a", "b")}
    for place, path in enumerate(memories.values()):
        # Only this one tensor was trained, and half of its entries by each.
        key, noise = "model.norm.weight", torch.zeros(32)
        noise[place * 16 : place * 16 + 16] = 0.25
        rewrite(path, lambda ts, key=key, noise=noise: ts | {key: ts[key] + noise.bfloat16()})
    out = merge_one(Ties(method="ties", density=1.0), base, memories, tmp_path / "out")
    got, before = load_file(out / "model.safetensors"), load_file(started / "model.safetensors")
    changed = {name for name in got if not torch.equal(got[name], before[name])}
    assert changed == {"model.norm.weight"}
    wanted = before["model.norm.weight"].float() + 0.25
    torch.testing.assert_close(got["model.norm.weight"].float(), wanted, atol=0.005, rtol=0)
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_output_has_the_inputs_number_format(dtype: str, tiny_model: Path, tmp_path: Path) -> None:
    base = make_base(tiny_model, tmp_path / "base", dtype=dtype)
    memories = make_memories(base, tmp_path, 2)
    out = merge_one(Linear(method="linear"), base, memories, tmp_path / "out")
    names = {"float32": "F32", "float16": "F16"}
    assert {tensor.dtype for tensor in read_tensors(out).values()} == {names[dtype]}


def test_a_pass_over_all_of_the_papers_recipes_is_mergekits_own_output(
    inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mergekit-yaml`'s own function for each recipe, and one pass for all: every bit is the same."""
    from mergekit.config import MergeConfiguration
    from mergekit.io.tasks import LoaderCache
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    base, memories = inputs
    pair = {name: memories[name] for name in ("a", "b")}
    recipes = (*PAPER, DareTies(method="dare_ties", density=0.4, seed=9), Ties(method="ties", density=1.0))
    # Tensors are cut where they are much smaller than a real model's.
    monkeypatch.setattr("memo_ray.merging.arithmetic.STRETCH", 100)
    merge(MergeJob(recipes=recipes, base=base, memories=pair, threads=2), tmp_path / "out")
    monkeypatch.setattr(LoaderCache, "loaders", {})
    for recipe in recipes:
        config = MergeConfiguration.model_validate(mergekit_config(recipe, base, list(pair.values()), "bfloat16"))
        alone = tmp_path / f"mergekit-{recipe_id(recipe)}"
        run_merge(config, str(alone), MergeOptions(random_seed=getattr(recipe, "seed", 0), quiet=True))
        got, wanted = read(tmp_path / "out" / recipe_id(recipe)), read(alone)
        assert got.keys() == wanted.keys()
        assert all(np.array_equal(got[name], wanted[name]) for name in got), recipe_id(recipe)


def test_a_large_model_is_written_in_shards(inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoModelForCausalLM

    base, memories = inputs
    whole = merge_one(Linear(method="linear"), base, memories, tmp_path / "whole")
    monkeypatch.setattr(weights, "SHARD_BYTES", 20_000)
    parts = merge_one(Linear(method="linear"), base, memories, tmp_path / "parts")
    assert len(list(parts.glob("model-*.safetensors"))) > 1
    assert read_tensors(parts).keys() == read_tensors(whole).keys()
    one, other = (AutoModelForCausalLM.from_pretrained(folder, dtype="auto") for folder in (whole, parts))
    for name, value in one.state_dict().items():
        assert value.equal(other.state_dict()[name]), name


def test_a_merge_that_fails_leaves_nothing_behind(inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, memories = inputs

    def full(file: int, *rest: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(weights.os, "pwrite", full)
    with pytest.raises(MergeError, match="the disk is full; free space"):
        merge_one(Linear(method="linear"), base, memories, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_exists_is_not_overwritten(inputs, tmp_path: Path) -> None:
    base, memories = inputs
    with pytest.raises(MergeError, match="exists already"):
        merge_one(Linear(method="linear"), base, memories, tmp_path)


def test_tensors_that_mergekits_list_of_an_architecture_lacks_are_merged_too(tiny_model: Path, tmp_path: Path) -> None:
    """mergekit's list for Llama has no attention biases: by itself it leaves them out without a word."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(tiny_model)
    config.attention_bias = True
    base = tmp_path / "base"
    AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(base)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tiny_model / name, base)
    memories = make_memories(base, tmp_path, 2)
    recipe = Linear(method="linear")
    got = read(merge_one(recipe, base, memories, tmp_path / "out"))
    assert any("bias" in name for name in got)
    assert distance(recipe, got, read(base), [read(path) for path in memories.values()]) <= 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Invalid JSON"),
        ('{"base": "b", "memories": {}}', "recipes: Field required"),
        ('{"recipes": [], "base": "b", "memories": {}}', "recipes: Tuple should have at least 1 item"),
        ('{"recipes": [{"method": "ties"}], "base": "b", "memories": {}}', "density: Field required"),
    ],
)
def test_a_job_file_that_is_wrong_is_one_line_and_exit_status_2(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "job.json").write_text(text)
    assert merging.main([str(tmp_path / "job.json"), str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {tmp_path / 'job.json'}: ")
    assert message in printed
    assert printed.count("\n") == 1
