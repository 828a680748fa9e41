"""Asks what merging is compared with: the memories, the union's memory, and through them routing.

In go a run's artefacts; out come the tables `ways` and `compared` of the merging's artefact, which the report shows
beside the sweep. The same questions are asked as of the merges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from memo_ray.artifacts.place import Location
from memo_ray.artifacts.store import Artifact, Attempt
from memo_ray.citations.routing import router_over
from memo_ray.config.run import RunConfig
from memo_ray.evaluation.alone import ask_systems
from memo_ray.evaluation.asked import Asked, held_out_questions
from memo_ray.evaluation.selection import choose_epochs
from memo_ray.evaluation.stage import epochs_of
from memo_ray.merging.ways import ROUTED, UNION, memory_system, routed_answers, routing_accuracy, way_rows
from memo_ray.models.ray_engine import Engine
from memo_ray.progress import Progress
from memo_ray.rows import Answer, Question, Reflection, Reject, WayRow

if TYPE_CHECKING:
    from memo_ray.pipeline import Results


def union_memory(engine: Engine, results: Results, max_tokens: int) -> dict[str, Location]:
    """The union's memory at its best epoch by held-out questions of all corpora; empty when there is none."""
    if results.union is None:
        return {}
    epochs = epochs_of(results.union)
    reflections = [row for made in results.synthesis.values() for row in made.rows("reflections", Reflection)]
    chosen = choose_epochs(engine, {UNION: epochs}, {UNION: reflections}, max_tokens)
    return {UNION: epochs[chosen[UNION]]}


def compare_ways(
    config: RunConfig,
    base: Location,
    results: Results,
    memories: Mapping[str, Location],
    union: Mapping[str, Location],
    asked: Sequence[Asked],
    attempt: Attempt,
    progress: Progress,
) -> None:
    """Write `ways` (WayRow) and `compared` (Answer), and with routing the facts `routing_accuracy`.

    `memories`: by corpus; `union`: its memory by system's name, or none. What an earlier try asked is not asked again.
    """
    assert config.merging is not None  # the caller has looked at its `compare`
    systems = {memory_system(corpus): folder for corpus, folder in memories.items()} | dict(union)
    found = ask_systems(config, base, systems, asked, attempt.progress.child("compared"), progress)
    reflections = {name: made.rows("reflections", Reflection) for name, made in results.synthesis.items()}
    answers = found.answers
    if "routing" in config.merging.compare:
        routers = {how: router_over(reflections, how) for how in ROUTED}
        routed = [row for how in ROUTED for row in routed_answers(how, routers[how], answers, list(memories))]
        owners = owners_of(reflections, results.corpora)
        attempt.facts["routing_accuracy"] = routing_accuracy(routers["likeliest"], answers, owners)
        answers = [*answers, *routed]
    held_out = {name: {row.question_id for row in held_out_questions(rows)} for name, rows in reflections.items()}
    training = {name: seconds_of(made) for name, made in results.training.items()}
    united = seconds_of(results.union) if results.union else 0.0
    attempt.write("ways", way_rows(answers, {k: v for k, v in held_out.items() if v}, training, united), WayRow)
    attempt.write("compared", answers, Answer)
    attempt.write("compared_rejects", found.rejects, Reject)
    attempt.add_cost(engine_starts=found.engine_starts)


def owners_of(reflections: Mapping[str, Sequence[Reflection]], corpora: Mapping[str, Artifact]) -> dict[str, set[str]]:
    """The corpora that every question is about, by its id."""
    owners: dict[str, set[str]] = {}
    for name, rows in reflections.items():
        for row in rows:
            owners.setdefault(row.reflection_id, set()).add(name)
    for name, made in corpora.items():
        for row in made.rows("questions", Question):
            owners.setdefault(row.question_id, set()).add(name)
    return owners


def seconds_of(made: Artifact) -> float:
    """How long an artefact took to make."""
    return made.record.cost.get("seconds", 0.0)
