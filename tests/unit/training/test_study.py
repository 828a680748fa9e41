"""What a memory still gets wrong, and the pass over it, also when it is cut off and resumed."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memo_ray.artifacts.place import Place, open_place
from memo_ray.config.training import StudyConfig, TrainingConfig
from memo_ray.training.checkpoints import Epoch, History
from memo_ray.training.facts import facts_of
from memo_ray.training.study import study_steps
from tests.unit.training.test_resuming import TOLERANCE, run_pair

Run = Callable[..., tuple[History, Place | None]]
Settings = Callable[..., TrainingConfig]

STUDY = StudyConfig(times=3)


def wrong_after(progress: Path, epoch: int) -> list[int]:
    return json.loads((progress / f"wrong-after-epoch-{epoch}.json").read_text())["examples"]


def greedy(model_folder: Path, examples_folder: Path) -> list[int]:
    """The examples whose answer transformers' own greedy decoding does not give, each asked alone."""
    import torch
    from transformers import AutoModelForCausalLM

    from memo_ray.training.examples import Examples

    model: Any = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).eval()
    examples = Examples.load(examples_folder)
    found = []
    for index in range(len(examples)):
        tokens, prompt = examples.example(index).astype("int64"), int(examples.prompts[index])
        said = model.generate(
            torch.from_numpy(tokens[:prompt])[None], max_new_tokens=len(tokens) - prompt, do_sample=False,
            attention_mask=torch.ones(1, prompt, dtype=torch.int64), pad_token_id=0,
        )[0, prompt:]  # fmt: skip
        if said.tolist() != tokens[prompt:].tolist():
            found.append(index)
    return found


def losses(history: History) -> list[float]:
    return [loss for epoch in history.epochs for loss in epoch.losses]


def test_a_pass_takes_what_is_wrong_several_times_and_as_many_others() -> None:
    steps = study_steps([1, 5], examples=20, times=4, per_step=3, seed=42, epoch=2)
    taken = Counter(index for step in steps for index in step)
    assert taken.pop(1) == taken.pop(5) == 4
    assert set(taken.values()) == {1} and sum(taken.values()) == 8
    assert [len(step) for step in steps] == [3] * 5 + [1]
    assert steps == study_steps([1, 5], examples=20, times=4, per_step=3, seed=42, epoch=2)
    assert steps != study_steps([1, 5], examples=20, times=4, per_step=3, seed=42, epoch=3)


def test_a_pass_with_few_others_takes_each_of_them_once() -> None:
    steps = study_steps([0, 1, 2], examples=4, times=2, per_step=100, seed=0, epoch=1)
    assert Counter(steps[0]) == {0: 2, 1: 2, 2: 2, 3: 1}


def test_what_is_wrong_is_what_greedy_decoding_does_not_give(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    recipe = {"epochs": 14, "learning_rate": 6e-3}
    plain, _ = run(settings(**recipe), tiny_model, tmp_path / "plain")
    history, _ = run(settings(**recipe, study=StudyConfig(epochs=5)), tiny_model, tmp_path / "studied")
    assert losses(history)[: plain.steps] == losses(plain)  # what comes before it is the same
    assert [epoch.study for epoch in history.epochs] == [False] * 14 + [True] * 5
    wrong = []
    for number, epoch in enumerate(history.epochs[13:], 14):
        found = wrong_after(tmp_path / "studied", number)
        assert found == greedy(tmp_path / "studied" / "models" / f"epoch-{number}", tmp_path / "studied" / "examples")
        wrong.append(epoch.wrong)
        assert epoch.wrong == len(found)
    for before, epoch in zip(wrong, history.epochs[14:], strict=False):
        assert before is not None
        assert len(epoch.losses) == math.ceil((4 * before + min(4 * before, 13 - before)) / 4)
    assert wrong[-1] < wrong[0]


def test_rows_of_one_example_are_looked_at_alike(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    config = settings(epochs=16, study=StudyConfig(times=1), packing=False, micro_batch_tokens=64)
    run(config, tiny_model, tmp_path)
    assert 0 < len(wrong_after(tmp_path, 16)) < 13, "the test needs a memory that knows some and not others"
    assert wrong_after(tmp_path, 16) == greedy(tmp_path / "models" / "epoch-16", tmp_path / "examples")


def test_the_likeliest_tokens_are_those_of_all_logits(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from memo_ray.training import loss
    from memo_ray.training.attention import Attention, probe_batch

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()
    batch = probe_batch(model, [[0, 1]], Attention("eager"))
    with torch.no_grad():
        wanted = loss.AnswerLoss(model, fused=False).likeliest(batch)
        assert len(wanted) == len(batch.targets)
        for at_once in (loss.LOGITS_AT_ONCE, 1):  # all places in one block, and each in one of its own
            monkeypatch.setattr(loss, "LOGITS_AT_ONCE", at_once)
            assert torch.equal(loss.AnswerLoss(model).likeliest(batch), wanted)


@pytest.mark.parametrize("after", [3, 4, 6], ids=["before it", "as it begins", "within it"])
def test_a_run_that_is_cut_off_studies_the_same(
    run: Run, settings: Settings, after: int, tiny_model: Path, tmp_path: Path
) -> None:
    config = settings(epochs=1, study=STUDY)
    whole, _ = run(config, tiny_model, tmp_path / "whole")
    cut, state = run(config, tiny_model, tmp_path / "cut", leave_after=after)
    assert state is not None and cut.steps == after
    resumed, _ = run(config, tiny_model, tmp_path / "cut", resume=state)
    assert losses(resumed) == losses(whole)
    assert [epoch.wrong for epoch in resumed.epochs] == [epoch.wrong for epoch in whole.epochs]
    last = "models/epoch-2/model.safetensors"
    assert (tmp_path / "cut" / last).read_bytes() == (tmp_path / "whole" / last).read_bytes()


def test_two_workers_study_what_one_found_and_end_alike(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    config = settings(epochs=1, study=STUDY)
    whole, _ = run(config, tiny_model, tmp_path / "whole")
    run(config, tiny_model, tmp_path / "cut", leave_after=6)
    ended = run_pair(config, tiny_model, open_place(tmp_path / "cut"))
    assert (ended.workers, ended.resumed_from) == (2, [6])
    assert losses(ended) == pytest.approx(losses(whole), abs=TOLERANCE)
    assert [epoch.wrong for epoch in ended.epochs] == [epoch.wrong for epoch in whole.epochs]
    assert wrong_after(tmp_path / "cut", 2) == wrong_after(tmp_path / "whole", 2)  # each looked at its share


def test_what_was_found_wrong_once_is_studied_whatever_a_later_look_would_say(
    run: Run, settings: Settings, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "wrong-after-epoch-1.json").write_text(json.dumps({"examples": [2, 7], "reflections": ["r2", "r7"]}))
    history, _ = run(settings(epochs=1, study=STUDY), tiny_model, tmp_path)
    assert history.epochs[0].wrong == 2
    assert len(history.epochs[1].losses) == 3  # 2 three times, and 6 of the others, 4 a step


def test_nothing_wrong_is_nothing_to_study(run: Run, settings: Settings, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong-after-epoch-2.json").write_text(json.dumps({"examples": [], "reflections": []}))
    history, _ = run(settings(study=STUDY), tiny_model, tmp_path)
    assert len(history.epochs) == 2 and not (tmp_path / "models" / "epoch-3").exists()
    assert facts_of(history)["study"] | {"seconds": 0} == {
        "epochs": [], "wrong_before": 0, "wrong_after": 0, "seconds": 0,
    }  # fmt: skip


def test_facts_tell_study_apart() -> None:
    seen, pass_over_wrong = Epoch([2.0], 2.0, 90, 100, 40), Epoch([0.5], 0.5, 30, 40, 20, seconds=2.0, study=True)
    seen.seconds, seen.wrong, seen.looking_seconds = 3.0, 7, 0.5
    pass_over_wrong.wrong = 1
    facts = facts_of(History(1, [seen, pass_over_wrong]))
    assert facts["study"] == {"epochs": [2], "wrong_before": 7, "wrong_after": 1, "seconds": 2.5}
    assert facts["final_loss"] == 2.0 and facts["loss_by_epoch"] == [2.0, 0.5]
    assert "study" not in facts_of(History(1, [Epoch([2.0], 2.0, 90, 100, 40, seconds=1.0)]))
