"""Whether to merge memories, to retrain on the union of their corpora, or to route between them, before any sweep.

In go the geometry of the task vectors, the answers of a small probe, and the measured seconds of the run; out comes an
Advice: the recall that merging is expected to lose, a recommendation with its reason, and what each way costs as
corpora arrive (paper, Section 5.5). Everything here is a pure function; `ray_probe.py` gets the inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from memo_ray.config.merging import Linear, MergeRecipe, TaskArithmetic
from memo_ray.evaluation.asked import Asked
from memo_ray.merging.geometry import Layer
from memo_ray.merging.recipes import recipe_id
from memo_ray.merging.ways import memory_system
from memo_ray.protocol.routing import Router
from memo_ray.rows import Answer

Way = Literal["merge", "union", "route", "undecided"]

PROBED: dict[str, MergeRecipe] = {
    recipe_id(recipe): recipe for recipe in (Linear(method="linear"), TaskArithmetic(method="task_arithmetic"))
}
"""The merges that the probe asks: the mean of the task vectors and their sum. Neither has anything to search."""

PRIOR = 4
"""So many questions the geometry counts for beside those of the probe."""

TOLERATED = 0.05
"""Share of what the memories recall that merging may be expected to lose and still be recommended."""

TOLERATED_WORST = 0.10
"""The same of a single corpus's memory: a small mean must not hide a corpus that is lost."""

FEWEST = PRIOR
"""So many probe questions each memory must answer; below, what a merge keeps of them says less than the geometry."""

ROUTABLE = 0.9
"""Share of questions that the router must send to the right memory to be recommended."""

ARRIVALS = 10
"""The table of costs goes up to so many corpora."""

HOW = (
    f"Of the questions that a memory answers rightly, a merge is expected to keep the share ({PRIOR} g + kept) / "
    f"({PRIOR} + own): kept of own in the probe, drawn towards the geometry's g, the squared cosine between the "
    "memory's task vector and the sum of all. The better of the probe's merges counts; a sweep may find one that "
    "is better still. Routing is expected to keep the share of questions that the router sends to the right memory."
)


@dataclass(frozen=True)
class Probe:
    """What the probe saw of one corpus. `own`: questions of `asked` that its own memory answers rightly;
    `merged`, `kept`: those that each probed merge answers rightly, of all and of `own`; `routed`: share of the
    corpus's held-out questions that the router sends to its memory."""

    corpus: str
    asked: int
    own: int
    merged: dict[str, int]
    kept: dict[str, int]
    routed: float


@dataclass(frozen=True)
class Prediction:
    """Recall of one corpus's held-out questions, 0 to 1: of its own memory, and expected of the other ways.

    `own_share`: the geometry's g. `probed`: by recipe, as the probe saw it.
    """

    corpus: str
    asked: int
    own: float
    own_share: float
    probed: dict[str, float]
    merged: float
    routed: float
    routing_accuracy: float


@dataclass(frozen=True)
class Measured:
    """Mean seconds of this run for one corpus, one merge of `merged_memories`, and a memory's size in bytes."""

    synthesis: float
    training: float
    merge: float
    merged_memories: int
    model_bytes: int


@dataclass(frozen=True)
class Cost:
    """What the ways have cost when `corpora` have arrived one at a time, in seconds; synthesis is the same for all.

    `merge_training`: each new corpus alone; `merging`: a merge of all memories at each arrival. `union_training`: on
    all corpora so far, at each arrival. `route_training`: each alone, and `route_bytes` of weights to serve.
    """

    corpora: int
    synthesis: float
    merge_training: float
    merging: float
    union_training: float
    route_training: float
    route_bytes: int


@dataclass(frozen=True)
class Advice:
    """The expected `loss` of recall (0..1, mean over the corpora) by the `recipe` of the probe that does best."""

    predictions: tuple[Prediction, ...]
    recipe: str
    loss: float
    recommended: Way
    reason: str
    how: str
    measured: Measured
    costs: tuple[Cost, ...]


def advise(geometry: Layer, probes: Sequence[Probe], measured: Measured) -> Advice:
    """The advice. `geometry`: of all layers together, each memory under its corpus's name."""
    by_recipe = {recipe: [_predict(geometry, probe, recipe) for probe in probes] for recipe in PROBED}
    recipe = max(by_recipe, key=lambda name: sum(row.merged for row in by_recipe[name]))
    predictions = tuple(by_recipe[recipe])
    loss = _mean([row.own - row.merged for row in predictions])
    weak = [probe for probe in probes if probe.own < FEWEST]
    recommended, reason = _undecided(weak) if weak else _recommend(predictions, loss, measured)
    return Advice(predictions, recipe, loss, recommended, reason, HOW, measured, costs(measured))


def costs(measured: Measured) -> tuple[Cost, ...]:
    """The table of Section 5.5 for 1 to `ARRIVALS` corpora like those measured.

    Training is Theta(K) for merging and routing, Theta(K^2) for retraining on the union at each arrival. A merge reads
    every memory, so its seconds are taken as proportional to their number.
    """
    each = measured.merge / measured.merged_memories
    return tuple(
        Cost(
            corpora=k,
            synthesis=k * measured.synthesis,
            merge_training=k * measured.training,
            merging=each * sum(range(2, k + 1)),
            union_training=measured.training * k * (k + 1) / 2,
            route_training=k * measured.training,
            route_bytes=k * measured.model_bytes,
        )
        for k in range(1, ARRIVALS + 1)
    )


def beside(
    predictions: Sequence[Prediction], recipe: str, recall: Mapping[str, Mapping[str, float]]
) -> list[dict[str, float | str | None]]:
    """The predictions beside what was then measured: a row for each corpus, recall 0 to 1, None where not known.

    `recipe`: the probe's best. `recall`: by system (`recipe`, `best`, `routed-likeliest`, `union`) and corpus.
    """

    def actual(system: str, corpus: str) -> float | None:
        return recall.get(system, {}).get(corpus)

    return [
        {
            "corpus": row.corpus,
            "own memory": row.own,
            "merged, predicted": row.merged,
            f"{recipe}, actual": actual(recipe, row.corpus),
            "best merge, actual": actual("best", row.corpus),
            "routed, predicted": row.routed,
            "routed, actual": actual("routed-likeliest", row.corpus),
            "union, actual": actual("union", row.corpus),
        }
        for row in predictions
    ]


def probes_of(
    questions: Mapping[str, Sequence[Asked]], routed: Mapping[str, float], answers: Sequence[Answer]
) -> tuple[Probe, ...]:
    """The counts by corpus. A question that could not be asked counts as wrong."""
    right: dict[str, set[str]] = {}
    for row in answers:
        right.setdefault(row.system, set()).update([row.question_id] if row.recalled else [])
    probes = []
    for corpus, rows in questions.items():
        ids = {row.question_id for row in rows}
        own = right.get(memory_system(corpus), set()) & ids
        merged = {name: right.get(name, set()) & ids for name in PROBED}
        probes.append(
            Probe(
                corpus=corpus,
                asked=len(ids),
                own=len(own),
                merged={name: len(found) for name, found in merged.items()},
                kept={name: len(found & own) for name, found in merged.items()},
                routed=routed[corpus],
            )
        )
    return tuple(probes)


def routed_share(router: Router, questions: Mapping[str, Sequence[Asked]]) -> dict[str, float]:
    """By corpus the share of its questions that go to its own memory alone or first."""
    return {
        corpus: sum(router.choose(row.question)[0] == corpus for row in rows) / len(rows)
        for corpus, rows in questions.items()
    }


def _predict(geometry: Layer, probe: Probe, recipe: str) -> Prediction:
    share = geometry.own_share(probe.corpus)
    own = probe.own / probe.asked
    kept = (PRIOR * share + probe.kept[recipe]) / (PRIOR + probe.own)
    return Prediction(
        corpus=probe.corpus,
        asked=probe.asked,
        own=own,
        own_share=share,
        probed={name: right / probe.asked for name, right in probe.merged.items()},
        merged=own * kept,
        routed=own * probe.routed,
        routing_accuracy=probe.routed,
    )


def _undecided(weak: Sequence[Probe]) -> tuple[Way, str]:
    """Nothing to recommend: a memory that knows nothing loses nothing, whatever is done with it."""
    seen = ", ".join(f"{probe.own} of {probe.asked} in {probe.corpus}" for probe in weak)
    return "undecided", (
        f"the memories answer too little to tell, {seen} where {FEWEST} are needed; train longer, or raise "
        "`merging.probe_questions`."
    )


def _recommend(predictions: Sequence[Prediction], loss: float, measured: Measured) -> tuple[Way, str]:
    """By the losses relative to what each memory recalls alone, which is above 0."""
    own = _mean([row.own for row in predictions])
    routed = _mean([row.routing_accuracy for row in predictions])
    lost = {row.corpus: 1 - row.merged / row.own for row in predictions}
    worst = max(lost, key=lambda corpus: lost[corpus])
    expected = (
        f"a merge is expected to recall {own - loss:.2f} where the memories alone recall {own:.2f} "
        f"({worst} loses most, {lost[worst]:.0%})"
    )
    if loss <= TOLERATED * own and lost[worst] <= TOLERATED_WORST:
        return "merge", f"{expected}, and a new corpus costs its own training."
    if routed >= ROUTABLE:
        size = len(predictions) * measured.model_bytes / 1e9
        return "route", (
            f"{expected}, but {routed:.0%} of the questions are sent to the right memory by their words, for "
            f"{size:.1f} GB of weights to serve."
        )
    return "union", (
        f"{expected}, and only {routed:.0%} of the questions are sent to the right memory by their words, so one "
        "memory has to learn all corpora together."
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
