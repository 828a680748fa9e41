"""What a run of several corpora makes besides its merges: the adviser's artefact, and a memory of all corpora at once.

Both are asked for in the config (`merging.advise`, `merging.compare: [union]`), or by `memo advise`. In go finished
trainings; out come an artefact each, which is found again by its fingerprint like every other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from memo_ray.artifacts.place import Location, is_remote, local_folder
from memo_ray.artifacts.store import Artifact, Attempt
from memo_ray.config.run import RunConfig
from memo_ray.errors import MergeError
from memo_ray.evaluation.asked import Asked, evenly, held_out_questions
from memo_ray.merging.advice import Measured, advise, routed_share
from memo_ray.pipeline import Results, base_model, make, semantic
from memo_ray.rows import Answer, Reflection
from memo_ray.workspace import Workspace


def make_union(run: Workspace, results: Results, may_run: bool) -> Artifact:
    """The reflections of all corpora → checkpoint folders of one memory: the full retraining of Section 5.5."""
    config = run.config.training
    base = base_model(config)

    def build(attempt: Attempt) -> None:
        from memo_ray.training.ray_training import train_memory

        check_trained(run.config, base.location, results)
        reflections = [row for made in results.synthesis.values() for row in made.rows("reflections", Reflection)]
        train_memory(config, reflections, base.location, attempt, run.console.progress)

    inputs = {f"synthesis-{name}": made.record.digest for name, made in results.synthesis.items()}
    # Without a corpus's name, which any corpus might have.
    return make(run, "training", "", semantic("training", config), inputs | {"base": base.digest}, build, may_run)


def check_trained(config: RunConfig, base: Location, results: Results) -> None:
    """Raise MergeError when the first epochs of the memories do not fit together: before anything long starts.

    Of a run on S3 nothing is downloaded for this; its memories are checked when their epochs are chosen.
    """
    from memo_ray.evaluation.stage import epochs_of
    from memo_ray.merging.checks import check

    assert config.merging is not None  # the caller asks only where the section is there
    first = {name: next(iter(epochs_of(made).values())) for name, made in results.training.items()}
    if not any(map(is_remote, (base, *first.values()))):
        here = {name: local_folder(memory).absolute() for name, memory in first.items()}
        check(local_folder(base).absolute(), here, adapters=config.merging.adapters)


def make_advice(run: Workspace, results: Results) -> Artifact:
    """The memories of all corpora → the facts `advice` and `geometry`, and the probe's `answers`."""
    from memo_ray.models.opening import engine_semantics

    config, asking, base = run.config.merging, run.config.evaluation, base_model(run.config.training)
    assert config is not None  # the caller asks only where the section is there

    def build(attempt: Attempt) -> None:
        write_advice(run, base.location, results, attempt)

    inputs = {f"training-{name}": made.record.digest for name, made in results.training.items()}
    inputs |= {f"synthesis-{name}": made.record.digest for name, made in results.synthesis.items()}
    settings = {"questions": config.probe_questions, "max_tokens": asking.max_tokens}
    return make(run, "advice", "", settings | {"engine": engine_semantics(asking.engine)}, inputs, build, may_run=True)


def write_advice(run: Workspace, base: Location, results: Results, attempt: Attempt) -> None:
    """Measure the task vectors, probe, and put the advice into the attempt."""
    from memo_ray.citations.routing import router_over
    from memo_ray.evaluation.selection import choose_epochs
    from memo_ray.evaluation.stage import epochs_of
    from memo_ray.merging.checks import check
    from memo_ray.merging.geometry import measure
    from memo_ray.merging.ray_probe import probe
    from memo_ray.merging.scores import SweepProgress
    from memo_ray.models.ray_engine import Engine

    assert run.config.merging is not None
    check_trained(run.config, base, results)
    asking, progress = run.config.evaluation, run.console.progress
    reflections = {name: made.rows("reflections", Reflection) for name, made in results.synthesis.items()}
    held_out = _held_out(reflections)
    questions = {name: evenly(rows, run.config.merging.probe_questions) for name, rows in held_out.items()}
    routed = routed_share(router_over(reflections, "likeliest"), held_out)
    epochs = {name: epochs_of(made) for name, made in results.training.items()}
    progress(0, 1, "choosing epochs")
    with Engine.start(asking.engine, base) as engine:
        chosen = choose_epochs(engine, epochs, reflections, asking.max_tokens)
        memories = {name: epochs[name][epoch] for name, epoch in chosen.items()}
        here = {name: local_folder(memory).absolute() for name, memory in memories.items()}
        inputs = check(local_folder(base).absolute(), here)
        merges = SweepProgress(attempt.progress, "probe")
        merges.clear()
        # Of an S3 run the addresses, since a merge may be made on another node.
        start = base if is_remote(base) else inputs.base
        located = {name: one if is_remote(one) else here[name] for name, one in memories.items()}
        seen = probe(start, located, inputs, questions, routed, engine, asking.max_tokens, merges, progress)
    geometry = measure(inputs)
    made = advise(geometry.overall, seen.probes, _measured(results, seen.merge_seconds, inputs.disk_bytes))
    attempt.write("answers", seen.answers, Answer)
    attempt.add_cost(engine_starts=1)
    attempt.facts |= {"advice": asdict(made), "geometry": asdict(geometry), "chosen_epochs": chosen}


def _held_out(reflections: Mapping[str, list[Reflection]]) -> dict[str, list[Asked]]:
    """Every corpus's held-out questions. Raises MergeError for a corpus without."""
    found = {name: held_out_questions(rows) for name, rows in reflections.items()}
    without = [name for name, rows in found.items() if not rows]
    if without:
        raise MergeError(
            f"merging: {without[0]} has no held-out reflections, on which alone a merge may be judged; "
            "raise synthesis.held_out.share and synthesis.held_out.max_questions"
        )
    return found


def _measured(results: Results, merge_seconds: float, model_bytes: int) -> Measured:
    def mean(made: Mapping[str, Artifact]) -> float:
        return sum(one.record.cost.get("seconds", 0.0) for one in made.values()) / len(made)

    return Measured(
        synthesis=mean(results.synthesis),
        training=mean(results.training),
        merge=merge_seconds,
        merged_memories=len(results.training),
        model_bytes=model_bytes,
    )
