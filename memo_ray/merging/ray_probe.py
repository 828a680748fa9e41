"""The probe: the cheapest merges are made and asked a few held-out questions of each corpus, beside the memories.

In go a base and its memories; out come, by corpus, how many questions each answers rightly, and what was answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memo_ray.artifacts.place import Location
from memo_ray.config.merging import MergingConfig
from memo_ray.evaluation.asked import Asked
from memo_ray.evaluation.ray_evaluation import ask_alone
from memo_ray.merging.advice import PROBED, Probe, probes_of
from memo_ray.merging.checks import Inputs
from memo_ray.merging.ray_trials import merge_all
from memo_ray.merging.scores import SweepProgress
from memo_ray.merging.ways import memory_system
from memo_ray.models.ray_engine import Engine
from memo_ray.progress import Progress, unheard
from memo_ray.rows import Answer


@dataclass(frozen=True)
class Probed:
    """What the probe saw by corpus, its answers, and the mean seconds of a merge."""

    probes: tuple[Probe, ...]
    answers: tuple[Answer, ...]
    merge_seconds: float


def probe(
    base: Location,
    memories: Mapping[str, Location],
    inputs: Inputs,
    questions: Mapping[str, Sequence[Asked]],
    routed: Mapping[str, float],
    engine: Engine,
    max_tokens: int,
    merges: SweepProgress,
    progress: Progress = unheard,
) -> Probed:
    """Ask each memory its own corpus's `questions`, and each merge of `PROBED` those of all corpora.

    `routed`: by corpus the share of questions that a router sends to its memory. `engine` runs already; merges are
    put into `merges`, and removed once they are asked. Needs ray to be initialised.
    """
    waiting = {name: recipe for name, recipe in PROBED.items() if merges.merged(name) is None}
    if waiting:
        merge_all(waiting, base, memories, merges, inputs, MergingConfig(), lambda name: None)
    everything = [row for rows in questions.values() for row in rows]
    asked = {memory_system(corpus): (memories[corpus], list(rows)) for corpus, rows in questions.items()}
    for name in PROBED:
        merge = merges.merged(name)
        assert merge is not None  # made just above
        asked[name] = merge, everything
    answers: list[Answer] = []
    for place, (system, (folder, rows)) in enumerate(asked.items()):
        progress(place, len(asked), f"probing {system}")
        answers += ask_alone(engine, {system: folder}, rows, max_tokens).answers
    seconds = [merges.merge_seconds(name) for name in PROBED]
    for name in PROBED:
        merges.remove_merge(name)
    return Probed(probes_of(questions, routed, answers), tuple(answers), sum(seconds) / len(seconds))
