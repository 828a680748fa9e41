"""Chooses the epoch of a memory on held-out rephrasings; test questions are never looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memo_ray.artifacts.place import Location
from memo_ray.evaluation.asked import held_out_questions
from memo_ray.evaluation.ray_evaluation import ask_alone
from memo_ray.evaluation.recall import choose_epoch
from memo_ray.models.ray_engine import Engine
from memo_ray.rows import Reflection


def choose_epochs(
    engine: Engine,
    epochs: Mapping[str, Mapping[str, Location]],
    held_out: Mapping[str, Sequence[Reflection]],
    max_tokens: int,
) -> dict[str, str]:
    """For every corpus the name of its best epoch, by recall of that corpus's own held-out questions.

    `held_out`: by corpus all reflections, trained ones among them, from which its memories were made.
    """
    chosen = {}
    for corpus, folders in epochs.items():
        asked = held_out_questions(held_out[corpus])
        answers = ask_alone(engine, dict(folders), asked, max_tokens).answers if asked else []
        chosen[corpus] = choose_epoch(answers, list(folders), held_out[corpus])
    return chosen
