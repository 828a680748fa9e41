"""What a finished row adds to the counters."""

from __future__ import annotations

from memo_ray.synthesis.asking import StepCount
from memo_ray.synthesis.ray_metrics import MEASURED, amounts_of
from memo_ray.synthesis.recipe import UnitResult


def test_every_counter_grows_by_step():
    count = StepCount(prompts=3, checks=2, made=5, input_tokens=70, output_tokens=20, cached_tokens=40)
    count.failed["unparsed"] += 1
    count.lost["duplicate"] += 2
    (step, amounts), = amounts_of(UnitResult([], [], {"direct": count.to_json()}, {})).items()  # fmt: skip
    assert step == "direct" and set(amounts) == set(MEASURED)
    assert amounts == {
        "prompts": 5, "input_tokens": 70, "output_tokens": 20, "cached_tokens": 40, "kept": 3, "rejects": 3,
    }  # fmt: skip
