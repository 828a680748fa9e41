"""DeepSpeed's settings are what the exact loss rests on."""

from __future__ import annotations

from memo_ray.config.training import TrainingConfig
from memo_ray.training.deepspeed import environment, settings


def test_accumulation_is_the_loops_own_and_in_float32() -> None:
    found = settings(TrainingConfig(), gpu=False)
    assert found["zero_optimization"]["stage"] == 2
    assert found["managed_gradient_accumulation"] is False
    assert found["gradient_accumulation_steps"] == 1
    assert found["data_types"] == {"grad_accum_dtype": "fp32"}
    assert found["bf16"] == {"enabled": True}
    assert settings(TrainingConfig(precision="fp32"), gpu=False)["bf16"] == {"enabled": False}


def test_a_cpu_worker_uses_the_cores_that_it_was_given() -> None:
    assert environment(gpu=False, cpus=2)["OMP_NUM_THREADS"] == "2"
    assert environment(gpu=False, cpus=2)["DS_ACCELERATOR"] == "cpu"
    assert "DS_ACCELERATOR" not in environment(gpu=True, cpus=1)


def test_one_worker_sends_gradients_to_nobody() -> None:
    alone, several = (settings(TrainingConfig(), gpu=True, workers=workers)["zero_optimization"] for workers in (1, 2))
    assert (alone["overlap_comm"], alone["reduce_scatter"]) == (False, False)
    assert (several["overlap_comm"], several["reduce_scatter"]) == (True, True)
