"""Messages for a training that cannot go on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import ray.train
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from memo_ray.config.training import LoraConfig, TrainingConfig
from memo_ray.errors import TrainingError
from memo_ray.training.attention import Attention
from memo_ray.training.blame import (
    GENTLER,
    OutOfMemory,
    Room,
    failure_of,
    not_finite,
    out_of_memory,
    smaller,
    told,
    too_large,
)
from memo_ray.training.examples import Examples
from memo_ray.training.fit import fit, footprint, shape_of, smaller_settings
from memo_ray.training.loss import AnswerLoss
from memo_ray.training.shapes import config_of

OURS = TrainingConfig(max_sequence_length=128)

EXAMPLES = Examples(
    np.tile(np.arange(3, 9, dtype=np.int32), 4),
    np.arange(5, dtype=np.int64) * 6,
    np.full(4, 3, dtype=np.int32),
    np.asarray(["ab12", "cd34", "ef56", "ff00"]),
)


def test_the_example_that_is_to_blame_is_found_and_named() -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=4,
            num_key_value_heads=2, tie_word_embeddings=False,
        )
    )  # fmt: skip
    examples = Examples(EXAMPLES.tokens.copy(), EXAMPLES.starts, EXAMPLES.prompts, EXAMPLES.ids)
    examples.tokens[6 * 2 + 1] = 60  # only the third example holds this token
    with torch.no_grad():
        model.model.embed_tokens.weight[60] = torch.inf
    blamed = not_finite(AnswerLoss(model), [3, 2, 0], examples, 0, Attention("eager"))
    assert blamed == [2]
    assert told(blamed, [3, 2, 0], examples, learnt=False).startswith(
        "for reflection ef56 of its 3; look at them, lower"
    )


@pytest.mark.parametrize(
    ("blamed", "learnt", "clause"),
    [
        ([], True, f"though each of its reflections is finite by itself; {GENTLER}"),
        ([0, 1, 2, 3], True, "for every one of its reflections, so the weights themselves are no good by now; lower "),
        ([0, 1, 2, 3], False, "before anything was learnt, so the base model itself is no good; take another training"),
        ([3, 1], False, f"for reflection cd34, ff00 of its 4; look at them, {GENTLER}"),
    ],
)
def test_what_is_said_of_a_step(blamed: list[int], learnt: bool, clause: str) -> None:
    assert clause in told(blamed, [0, 1, 2, 3], EXAMPLES, learnt=learnt)


def test_many_are_not_all_named() -> None:
    many = Examples(np.zeros(0), np.zeros(1), np.zeros(0), np.asarray([f"r{n}" for n in range(20)]))
    clause = told(list(range(12)), list(range(20)), many, learnt=True)
    assert clause.startswith("for reflection r0, r1, r2, r3, r4 and 7 more of its 20; ")


@pytest.mark.parametrize(
    "said",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("unable to mmap 9 bytes: Cannot allocate memory (12)"),
        RuntimeError("training: worker 1 of 1 could not save: MemoryError: "),
        MemoryError("Unable to allocate 3.00 GiB for an array"),
    ],
    ids=str,
)
def test_out_of_memory_on_a_cpu_says_what_takes_less(said: Exception) -> None:
    config = TrainingConfig(micro_batch_tokens=8192, gradient_checkpointing=False, workers=2)
    # A CPU computes no more than 2048 tokens at once, and more workers of one machine take more of it.
    message = (
        r"out of memory; set micro_batch_tokens: 1024 or gradient_checkpointing: true or workers: 1 or lora: \{\}$"
    )
    with pytest.raises(TrainingError, match=message), out_of_memory(config, workers=1):
        raise said


@pytest.mark.parametrize("memory", [80, 24], ids=["the estimate was too low", "it does not fit"])
def test_out_of_memory_on_a_gpu_says_what_would_fit(memory: int, tmp_path: Path) -> None:
    shape = config_of("qwen2.5-1.5b")
    shape.save_pretrained(tmp_path)
    config = TrainingConfig(checkpoint_keep="products", compile=True)
    before = fit(shape, config, memory * 2**30)
    with pytest.raises(TrainingError, match=rf"out of memory on a GPU of {memory} GiB; set (.*)") as raised:  # noqa: SIM117
        with out_of_memory(config, 1, Room(tmp_path, memory * 2**30)):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
    offered = str(raised.value).partition("; set ")[2].split(" or ")
    settings = dict(smaller_settings(config))
    assert before.fits == (memory == 80) and len(offered) > 1
    for words in offered:
        changed = settings[words]
        less = footprint(shape_of(shape, changed.lora), changed, changed.workers).total
        assert less < min(before.footprint.total * 0.9, memory * 2**30)


def test_what_cannot_be_made_smaller_says_so(tmp_path: Path) -> None:
    config_of("qwen2.5-14b").save_pretrained(tmp_path)
    least = TrainingConfig(micro_batch_tokens=512, lora=LoraConfig())
    assert too_large(least, Room(tmp_path, 2**30)) == "training: out of memory on a GPU of 1 GiB; take a smaller base"
    assert too_large(least.model_copy(update={"micro_batch_tokens": 256}), None).endswith("; take a smaller base")


def test_one_of_several_workers_fails_for_all() -> None:
    with (
        pytest.raises(OutOfMemory, match="out of memory; set micro_batch_tokens") as raised,
        out_of_memory(TrainingConfig(), workers=2),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    assert not isinstance(raised.value, TrainingError)


def test_other_errors_stay_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="shapes"), out_of_memory(TrainingConfig(), workers=1):
        raise RuntimeError("shapes do not match")


def test_what_was_said_once_is_not_said_again() -> None:
    with (
        pytest.raises(OutOfMemory, match=r"^training: out of memory; set micro_batch_tokens: 300 or"),
        out_of_memory(TrainingConfig(), workers=2, held=0),
        out_of_memory(TrainingConfig(), workers=2, held=600),
    ):
        raise RuntimeError("can't allocate memory")


def test_settings_that_take_no_less_are_not_offered() -> None:
    before = TrainingConfig(gradient_checkpointing=False, precision="fp32")
    assert smaller(before, held=0) == ["precision: bf16", "lora: {}"], "nothing was computed yet"
    assert smaller(before, held=200)[0] == "gradient_checkpointing: true", "fewer tokens would be as many"
    assert smaller(before, held=400)[0] == "micro_batch_tokens: 256"
    config = TrainingConfig(micro_batch_tokens=512, lora=LoraConfig())
    assert smaller(config) == ["micro_batch_tokens: 256"]
    assert "checkpoint_keep: nothing" in smaller(TrainingConfig(checkpoint_keep="products"))


def test_the_last_line_of_a_worker_that_failed_is_told() -> None:
    error = ray.train.TrainingFailedError("Traceback\n  somewhere\nValueError: what is wrong\n")
    assert "max_failures allows (ValueError: what is wrong); the same" in str(failure_of(error, OURS, gpu=False))


def test_a_worker_that_ray_ended_for_memory_is_told_with_a_remedy() -> None:
    error = ray.train.TrainingFailedError("2 worker(s) were killed due to the node running low on memory.\nRefer to")
    told = str(failure_of(error, OURS, gpu=False))
    assert told.startswith("training: out of memory; set micro_batch_tokens: 1024 or lora: {}")
    assert str(failure_of(error, OURS, gpu=True)) == "training: out of memory; take nodes of more memory"


def test_a_worker_that_was_killed_is_told_in_one_line() -> None:
    said = (
        "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: "
        "Worker unexpectedly exits with a connection error code 2. End of file. Some common causes include: (1) the "
        "process was killed by the OOM killer due to high memory usage, (2) ray stop --force was called"
    )
    told = str(failure_of(ray.train.TrainingFailedError(said), OURS, gpu=False))
    assert told.startswith("training: a worker's process was killed or crashed more often than training.max_failures")
    assert "ran out of memory" in told and "set micro_batch_tokens: 1024 or lora: {}; the same command" in told
    assert "take nodes of more memory; the same" in str(failure_of(RuntimeError(said), OURS, gpu=True))
