"""What of a recipe a fingerprint holds, and which of its steps can be left out."""

from __future__ import annotations

import json
from typing import get_args

from memo_ray.config.synthesis import StepName
from memo_ray.synthesis import recipe
from memo_ray.synthesis.recipe import semantics
from tests.unit.synthesis.conftest import config


def test_what_changes_the_result_is_in_the_semantics_and_nothing_else():
    plain = semantics(config())
    assert semantics(config(chunks_in_flight=3, engine_restarts=9, no_progress_s=60)) == plain
    assert semantics(config(samples=2)) != plain
    assert semantics(config(prompts="chunk", answers="generated"))["prompt_digests"] != plain["prompt_digests"]
    json.dumps(plain, allow_nan=False)


def test_every_step_that_can_be_left_out_is_a_stage():
    options = {"fill", "paraphrase", "rephrase"}
    steps = {*recipe.EXTRACTION, *recipe.STEPS} - {"extraction"}
    assert steps - options == set(get_args(StepName)) - {"connections"}
