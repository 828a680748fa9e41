"""The stages of a run, in order; read this file first.

    documents ─ corpus ─▶ chunks, groups ─ synthesis ─▶ reflections ─ training ─▶ a memory model
        ─ merging ─▶ one memory out of several corpora' ─ evaluation (through serving) ─▶ scores, report

Each stage reads finished artefacts and writes one; none reaches back. A stage whose fingerprint (settings,
prompts, models and contents of its inputs) is already in the store is not run again: that is all there is to
resuming between stages. `memo run` calls `run_stages`; the work of a stage is in the room of its name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from memo_ray.artifacts.fingerprint import fingerprint
from memo_ray.artifacts.record import read_by_synthesis
from memo_ray.artifacts.store import Artifact, Attempt
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.training import NO_RECIPE, TrainingConfig
from memo_ray.errors import ConfigError, FinishedElsewhere
from memo_ray.rows import LedgerEntry, Reflection, Reject
from memo_ray.stage_state import attempted, noted
from memo_ray.workspace import Workspace

if TYPE_CHECKING:
    from memo_ray.models.sources import ModelSource

STAGES = ("corpus", "synthesis", "training", "merging", "evaluation")
"""In this order. Serving is not an artefact: evaluation starts it for its protocol questions, `memo serve` for good."""

VERSIONS = {"corpus": 2, "synthesis": 4, "training": 3, "advice": 3, "merging": 3, "evaluation": 7}
"""Raised when a stage's code changes what it makes; part of the fingerprint."""

NOT_SEMANTIC = {
    "corpus": {"paths", "questions", "benchmark", "reflections", "name", "max_reject_share"},
    "training": set(NO_RECIPE),
    "merging": {"max_concurrent", "recipes_per_pass", "overlap", "threads", "advise", "probe_questions"},
    "protocol": {"parallel_sub_questions"},
}
"""Settings that say where and how fast, not what: they stay out of the fingerprint."""


@dataclass
class Results:
    """The finished artefacts of a run, by corpus where there is one for each; `union`: the training on all."""

    corpora: dict[str, Artifact] = field(default_factory=dict)
    synthesis: dict[str, Artifact] = field(default_factory=dict)
    training: dict[str, Artifact] = field(default_factory=dict)
    union: Artifact | None = None
    advice: Artifact | None = None
    merging: Artifact | None = None
    evaluation: Artifact | None = None

    def all(self) -> list[Artifact]:
        """Every finished artefact, in the order of the stages."""
        trained = [*self.corpora.values(), *self.synthesis.values(), *self.training.values()]
        last = [self.union, self.advice, self.merging, self.evaluation]
        return [*trained, *(artifact for artifact in last if artifact is not None)]


@noted
def run_stages(run: Workspace, start: str = STAGES[0], until: str = STAGES[-1]) -> Results:
    """Bring the stages up to `until` to their finished state; those before `start` must be finished already.

    Raises a MemoError that says what to do; whatever was finished before it stays and is reused.
    """
    for name in (start, until):
        if name not in STAGES:
            raise ConfigError(f"stage {name}: there is none of that name; the stages are {', '.join(STAGES)}")
    run.stages = wanted = STAGES[: STAGES.index(until) + 1]
    results = Results()

    def allowed(stage: str) -> bool:
        return STAGES.index(stage) >= STAGES.index(start)

    from memo_ray.model_checks import check_models

    check_models(run, wanted)
    if run.config.merging is not None:
        from memo_ray.merging.recipes import choose

        choose(run.config.merging, len(run.config.corpora))  # before anything is trained for a merge that cannot be
    for corpus in run.config.corpora:
        results.corpora[corpus.name] = make_corpus(run, corpus, allowed("corpus"))
    if "synthesis" in wanted:
        for name, corpus in results.corpora.items():
            results.synthesis[name] = make_synthesis(run, name, corpus, allowed("synthesis"))
    if "training" in wanted:
        for name, synthesis in results.synthesis.items():
            results.training[name] = make_training(run, name, synthesis, allowed("training"))
    if "merging" in wanted and (merging := run.config.merging) is not None:
        from memo_ray.merging.stage import make_advice, make_union

        results.union = make_union(run, results, allowed("merging")) if merging.union else None
        wanted_advice = merging.advise and allowed("merging")
        results.advice = make_advice(run, results) if wanted_advice else run.finished("advice")
        results.merging = make_merging(run, results, allowed("merging"))
    if "evaluation" in wanted:
        results.evaluation = make_evaluation(run, results, allowed("evaluation"))
    return results


def make_corpus(run: Workspace, corpus: CorpusConfig, may_run: bool) -> Artifact:
    """documents (files, or a benchmark) → `documents`, `chunks`, `groups`, `questions`, `rejects`."""
    from memo_ray.corpus.communities import semantics
    from memo_ray.corpus.loaders import source_digests

    config = semantic("corpus", corpus) | {"discovered": semantics(corpus)}
    if corpus.benchmark is not None:
        return make_benchmark(run, corpus, config, may_run)

    def build(attempt: Attempt) -> None:
        from memo_ray.corpus.ray_corpus import build_corpus

        build_corpus(corpus, attempt)

    return make(run, "corpus", corpus.name, config, source_digests(corpus), build, may_run)


def make_benchmark(run: Workspace, corpus: CorpusConfig, config: dict[str, Any], may_run: bool) -> Artifact:
    """a benchmark's own files → `documents`, `chunks`, `groups`, `questions`, `rejects` (paper, Appendix D)."""
    from memo_ray.evaluation.benchmarks.corpus import build_corpus, open_benchmark

    loaded = open_benchmark(corpus)

    def build(attempt: Attempt) -> None:
        build_corpus(corpus, loaded, attempt)

    return make(run, "corpus", corpus.name, config, loaded.digests(), build, may_run)


def make_synthesis(
    run: Workspace, name: str, corpus: Artifact, may_run: bool, derive: Callable[[Attempt], None] | None = None
) -> Artifact:
    """`chunks`, `groups` → `reflections`, `ledger`, `rejects` (paper, Section 4.1); or `derive` writes these tables."""
    from memo_ray.models.opening import identity, source_of
    from memo_ray.synthesis.recipe import semantics

    corpus_config = next(config for config in run.config.corpora if config.name == name)
    if corpus_config.reflections:
        return import_reflections(run, corpus_config, may_run)
    config, raw = run.config.synthesis, run.config.synthesis.source == "documents"
    source = None if raw else source_of(config.generator, "synthesis.generator")

    def build(attempt: Attempt) -> None:
        if raw:
            from memo_ray.synthesis.raw_text import write_raw_text

            write_raw_text(corpus, attempt)
        else:
            from memo_ray.synthesis.ray_synthesis import synthesise

            synthesise(config, corpus, source.location if source else None, attempt, run.console.progress)

    # Not the whole corpus: its questions and rejects are no input, and a new question must cost no new memory.
    inputs = {
        "corpus": read_by_synthesis(corpus.record),
        "generator": "" if raw else identity(config.generator, source),
    }
    return make(run, "synthesis", name, semantics(config), inputs, derive or build, may_run)


def import_reflections(run: Workspace, corpus: CorpusConfig, may_run: bool) -> Artifact:
    """A question-answer set (files) → `reflections`, `ledger`, `rejects`, in place of synthesis."""
    from memo_ray.synthesis.imported import import_pairs, source_digests

    def build(attempt: Attempt) -> None:
        reflections, ledger, counts = import_pairs(corpus.reflections, corpus.licence, corpus.licence_column)
        attempt.write("reflections", reflections, Reflection)
        attempt.write("ledger", ledger, LedgerEntry)
        attempt.write("rejects", [], Reject)
        attempt.facts.update(counts)

    # By content, in order: where the files lie does not matter.
    inputs = {f"set-{place}": digest for place, digest in enumerate(source_digests(corpus.reflections).values())}
    config = {"imported": True, "licence": [corpus.licence, corpus.licence_column]}
    return make(run, "synthesis", corpus.name, config, inputs, build, may_run)


def make_training(run: Workspace, name: str, synthesis: Artifact, may_run: bool) -> Artifact:
    """`reflections` → Hugging Face folders `epoch-1` to `epoch-N` (paper, Section 4.2)."""
    config, base = run.config.training, base_model(run.config.training)

    def build(attempt: Attempt) -> None:
        if run.config.merging is not None:
            from memo_ray.merging.ray_trials import check_before_training

            check_before_training(run.config.merging, base.location, len(run.config.corpora))
        from memo_ray.training.ray_training import train_memory

        train_memory(config, synthesis.rows("reflections", Reflection), base.location, attempt, run.console.progress)

    inputs = {"synthesis": synthesis.record.digest, "base": base.digest}
    return make(run, "training", name, semantic("training", config), inputs, build, may_run)


def make_merging(run: Workspace, results: Results, may_run: bool) -> Artifact:
    """The memories of all corpora → merged memories and the table of the sweep (paper, Section 4.3)."""
    from memo_ray.merging.checks import check_bases
    from memo_ray.models.opening import engine_semantics

    config, base = run.config.merging, base_model(run.config.training)
    assert config is not None  # run_stages asks for this stage only when the section is there
    bases = {name: artifact.record.inputs["base"] for name, artifact in results.training.items()}
    check_bases(run.config.training.base, base.digest, bases)

    def build(attempt: Attempt) -> None:
        from memo_ray.evaluation.stage import merge_memories

        merge_memories(run.config, base.location, results, attempt, run.console.progress)

    inputs = {f"training-{name}": artifact.record.digest for name, artifact in results.training.items()}
    inputs |= {f"synthesis-{name}": artifact.record.digest for name, artifact in results.synthesis.items()}
    inputs |= {f"corpus-{name}": artifact.record.digest for name, artifact in results.corpora.items()}
    inputs |= {"union": results.union.record.digest} if results.union else {}
    asking = run.config.evaluation
    semantics = semantic("merging", config) | {
        # SLERP counts its two memories in this order, and DARE draws their masks in it.
        "corpora": list(results.training),
        "asked": {"max_tokens": asking.max_tokens, "max_trained": asking.max_trained},
        "engine": engine_semantics(asking.engine),
    }
    return make(run, "merging", "", semantics, inputs, build, may_run)


def make_evaluation(run: Workspace, results: Results, may_run: bool) -> Artifact:
    """Questions and systems → `answers`, `transcripts`, `rejects`, and which memory to serve."""
    from memo_ray.cartridges import with_cartridges
    from memo_ray.models.opening import engine_semantics, identity, source_of
    from memo_ray.protocol.executive import digest

    serving, settings = run.config.serving, with_cartridges(run, results)
    executive = source_of(serving.executive, "serving.executive")

    def build(attempt: Attempt) -> None:
        from memo_ray.evaluation.stage import evaluate

        base = base_model(run.config.training).location
        evaluate(settings, base, executive and executive.location, results, attempt, run.console.progress)

    config = {
        "evaluation": run.config.evaluation.model_dump(mode="json", exclude={"engine", "comparison"}),
        "engines": [engine_semantics(one) for one in (run.config.evaluation.engine, serving.executive, serving.memory)],
        "protocol": semantic("protocol", serving.protocol),
        "prompts": digest(serving.protocol),
    }
    if settings.evaluation.comparison is not None:
        from memo_ray.evaluation.comparison_identity import semantics

        config["comparison"] = semantics(settings.evaluation.comparison)
    inputs = {made.record.name: made.record.digest for made in results.all() if made.record.stage != "advice"}
    inputs["executive"] = identity(serving.executive, executive)
    return make(run, "evaluation", "", config, inputs, build, may_run)


def make(
    run: Workspace,
    stage: str,
    corpus: str,
    config: dict[str, Any],
    inputs: dict[str, str],
    build: Callable[[Attempt], None],
    may_run: bool,
) -> Artifact:
    """The finished artefact of a stage: found by its fingerprint, or built now on the run's Ray cluster."""
    name = f"{stage}-{corpus}" if corpus else stage
    identity = fingerprint(stage, VERSIONS[stage], config, inputs)
    found = run.store.find(name, identity)
    run.note(name, identity)
    if found is not None:
        run.console.reused(name, found)
        return found
    if not may_run:
        raise ConfigError(f"{name}: is not finished with these settings; run the stage {stage} first")
    told = run.console.finished
    try:
        with attempted(run, name, stage, identity, config, inputs) as (attempt, worked):
            run.build(stage, attempt, build, worked)
    except FinishedElsewhere:  # since it was looked up: the same content, so it is as good
        told = run.console.reused
    made = run.store.find(name, identity)
    if made is None:
        raise ConfigError(f"{name}: its record disappeared while the run went on; run the command again")
    told(name, made)
    return made


def semantic(stage: str, config: CorpusConfig | TrainingConfig | Any) -> dict[str, Any]:
    """A stage's settings without those that cannot change its result."""
    return config.model_dump(mode="json", exclude=NOT_SEMANTIC.get(stage, set()))


def base_model(config: TrainingConfig) -> ModelSource:
    """Folder and digest of the model that memories start from."""
    from memo_ray.models.sources import resolve

    return resolve(config.base, config.revision, "training.base")
