"""The sweep: merges the memories of a run's corpora by every recipe and keeps those that recall most.

Merges are CPU trials of Ray Tune; each merged memory is then asked the held-out reflections of all corpora on one
engine, whose weights are reloaded in place, while the next ones are merged. In go a base and K memories; out come the
tables `sweep`, `answers` and `rejects`, and the best memories' folders. Nothing but held-out reflections decides.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import ray

from memo_ray.artifacts.place import Location, Place, is_remote, local_folder
from memo_ray.artifacts.store import Attempt
from memo_ray.config.merging import MergeRecipe, MergingConfig
from memo_ray.config.models import VllmModel
from memo_ray.errors import MergeError
from memo_ray.evaluation.asked import Asked, held_out_questions
from memo_ray.evaluation.ray_evaluation import Asking, ask_alone
from memo_ray.merging.checks import Inputs, check, check_disk
from memo_ray.merging.methods import METHODS
from memo_ray.merging.ray_trials import merge_all
from memo_ray.merging.recipes import choose
from memo_ray.merging.scores import Quality, SweepProgress, quality, rank, sweep_rows
from memo_ray.models.ray_engine import Engine
from memo_ray.progress import Progress, unheard
from memo_ray.rows import Answer, Reflection, Reject, SweepRow, content_id

LOG = logging.getLogger(__name__)

PASSES = 4
"""Of a sweep that overlaps, unless the config says how many recipes a pass makes: the engine waits for the first."""


class Ask(Protocol):
    """Asks the memory at `memory`, called `system` in the rows, every question alone at temperature 0."""

    def __call__(self, system: str, memory: Location, asked: Sequence[Asked]) -> Asking: ...


def sweep(
    config: MergingConfig,
    base: Location,
    memories: Mapping[str, Location],
    held_out: Mapping[str, Sequence[Reflection]],
    engine: VllmModel,
    max_tokens: int,
    attempt: Attempt,
    also: Sequence[Asked] = (),
    progress: Progress = unheard,
    ask: Ask | None = None,
) -> None:
    """Try every recipe of `config` on `memories` (by corpus) and keep the best (paper, Appendix H).

    `held_out` gives each corpus's reflections; their held-out rows choose. `also` are further questions that every
    merge is asked while its weights are there; they choose nothing. `ask` stands in for the engine.

    Writes the tables `sweep` (SweepRow, in the order of the recipes), `answers` and `rejects` (system: the recipe's
    id), the folders `merged/<recipe id>` of the `config.keep` best, and the facts `best`, `kept` (best first),
    `recall` (of the best), `chosen_on` (held-out questions by corpus), `without_held_out` (corpora that had none),
    `left_out` (recipes of the preset, with the reason) and `merged_as_adapters` (recipe ids). What `attempt.progress`
    holds is not done again.

    Raises MergeError when there is nothing to choose on, when the memories do not fit together, or when no machine
    has the memory or disk; needs ray to be initialised.
    """
    recipes, left_out = choose(config, len(memories))
    ids = _held_out_ids(held_out)
    asked = _questions(held_out, also)
    # A trial runs in a folder of its own, so relative paths would mean something else there.
    here = {corpus: local_folder(memory).absolute() for corpus, memory in memories.items()}
    inputs = check(local_folder(base).absolute(), here, adapters=config.adapters)
    # On a disk the paths, on S3 the addresses, since a trial may run on another node.
    located = {corpus: memory if is_remote(memory) else here[corpus] for corpus, memory in memories.items()}
    start = base if is_remote(base) else inputs.base
    made = SweepProgress(attempt.progress, _digest(asked))
    made.clear()
    run = _Sweep(config, recipes, inputs, start, located, made, ids, progress)
    with _EngineAsk(engine, max_tokens, attempt) as from_engine:
        # Without overlap no engine holds a GPU, or cores, while merges are made.
        run.merge_and_score(lambda name, memory: (ask or from_engine)(name, memory, asked), from_engine.close)
    run.publish(attempt)
    attempt.facts |= {
        "chosen_on": {corpus: len(names) for corpus, names in ids.items()},
        "without_held_out": [corpus for corpus in memories if corpus not in ids],
        "left_out": left_out,
        "merged_as_adapters": [
            name for name, recipe in run.recipes.items() if config.adapters and METHODS[recipe.method].sums
        ],
    }


class _Sweep:
    """One call of `sweep`: what is left to do, and doing it."""

    def __init__(
        self,
        config: MergingConfig,
        recipes: Mapping[str, MergeRecipe],
        inputs: Inputs,
        base: Location,
        memories: Mapping[str, Location],
        progress: SweepProgress,
        ids: Mapping[str, set[str]],
        report: Progress,
    ) -> None:
        self.config, self.recipes, self.inputs, self.progress = config, dict(recipes), inputs, progress
        self.base, self.memories, self.ids = base, memories, ids
        self._report = report
        self._total = len(recipes) + (config.search.trials if config.search else 0)
        self._queue = list(recipes)
        self._overlap = _overlaps(config.overlap)
        self._suggestions = None
        if config.search is not None:
            from memo_ray.merging.ray_search import Suggestions

            self._suggestions = Suggestions(config.search, len(memories), recipes)

    def merge_and_score(self, ask: Callable[[str, Location], Asking], rest: Callable[[], None]) -> None:
        """Until every recipe is scored, merge a pass and `ask` its merges; while they are asked, the next pass is made
        where that is wanted, else `rest` is called before it."""
        making = ThreadPoolExecutor(1)
        try:
            following = self._start(making)
            while following := following or self._start(making):
                names, merging = following
                merging.result()
                following = self._start(making, beside=True) if self._overlap else None
                for name in names:
                    self._score(name, ask)
                if not self._overlap:
                    rest()
        finally:
            # Not waited for when scoring failed: its trials end with the run's Ray cluster.
            making.shutdown(wait=False, cancel_futures=True)

    def _start(self, making: ThreadPoolExecutor, *, beside: bool = False) -> tuple[list[str], Future[None]] | None:
        """Begin to make the next pass; None when nothing is left or, `beside` another, when the disk is full."""
        while not (waiting := [name for name in self._queue if not self.progress.is_scored(name)]):
            if self._suggestions is None:
                return None
            scores = {name: one.recall for name, one in self._qualities().items()}
            suggested = self._suggestions.next(scores)
            if not suggested:
                return None
            self.recipes |= suggested
            self._queue = list(suggested)
        names = self._next_pass(waiting, beside)
        self._queue = [name for name in waiting if name not in names]
        return (names, making.submit(self._merge, names)) if names else None

    def _next_pass(self, waiting: Sequence[str], beside: bool) -> list[str]:
        """As many of `waiting` as one pass makes and the disk holds; those merged already come first."""
        merged = [name for name in waiting if self.progress.merged(name)]
        room = _room(self.progress.merges, self.inputs)
        most = self.config.recipes_per_pass or (-(-self._total // PASSES) if self._overlap else self._total)
        names = merged + [name for name in waiting if name not in merged][:room]
        if not names and not beside:
            check_disk(Path(self.progress.merges.url), self.inputs.folder_bytes)
        return names[:most]

    def _merge(self, names: Sequence[str]) -> None:
        recipes = {name: self.recipes[name] for name in names if self.progress.merged(name) is None}
        if recipes:
            merge_all(
                recipes,
                self.base,
                self.memories,
                self.progress,
                self.inputs,
                self.config,
                lambda name: self._step(f"merged {name}"),
            )

    def _score(self, name: str, ask: Callable[[str, Location], Asking]) -> None:
        """Ask one merge, and remove its weights unless it is among the best so far."""
        clock = time.monotonic()
        memory = self.progress.merged(name)
        assert memory is not None  # merged just before
        found = ask(name, memory)
        self.progress.finish_score(name, found.answers, found.rejects, time.monotonic() - clock)
        for worse in rank(self._qualities())[self.config.keep :]:
            self.progress.remove_merge(worse)
        self._step(f"scored {name}")

    def publish(self, attempt: Attempt) -> None:
        """Write the tables, make the best merges part of the artefact, and note what they cost."""
        scored = {name: self.progress.scored(name) for name in self.recipes}
        qualities = self._qualities()
        best = rank(qualities)[: self.config.keep]
        for name in best:
            attempt.adopt(f"merges/{name}", f"merged/{name}")
        answers = [row for one in scored.values() for row in one.answers]
        attempt.write("sweep", sweep_rows(self.recipes, scored, qualities, best), SweepRow)
        attempt.write("answers", answers, Answer)
        attempt.write("rejects", [row for one in scored.values() for row in one.rejects], Reject)
        attempt.add_cost(
            merge_seconds=round(sum(one.merge_seconds for one in scored.values()), 3),
            score_seconds=round(sum(one.score_seconds for one in scored.values()), 3),
            input_tokens=sum(row.input_tokens for row in answers),
            output_tokens=sum(row.output_tokens for row in answers),
        )
        attempt.facts |= {"best": best[0], "kept": best, "recall": qualities[best[0]].recall}

    def _qualities(self) -> dict[str, Quality]:
        """Of the recipes that are scored, in their order."""
        scored = [name for name in self.recipes if self.progress.is_scored(name)]
        return {name: quality(self.progress.scored(name).answers, self.ids) for name in scored}

    def _step(self, what: str) -> None:
        scored = {name for name in self.recipes if self.progress.is_scored(name)}
        merged = {name for name in self.recipes if self.progress.merged(name)} | scored
        done, total = len(scored) + len(merged), 2 * self._total
        LOG.info("%d of %d: %s", done, total, what)
        self._report(done, total, what)


class _EngineAsk:
    """Asks on one engine, started with the first merge and reloaded in place for every other."""

    def __init__(self, config: VllmModel, max_tokens: int, attempt: Attempt) -> None:
        self._config, self._max_tokens, self._attempt = config, max_tokens, attempt
        self._engine: Engine | None = None

    def __call__(self, system: str, memory: Location, asked: Sequence[Asked]) -> Asking:
        loaded = None
        if self._engine is None:
            self._engine = Engine.start(self._config, memory)
            self._attempt.add_cost(engine_starts=1)
            loaded = memory
        asking = ask_alone(self._engine, {system: memory}, asked, self._max_tokens, loaded=loaded)
        if loaded is None:  # that which the engine began with it may read again
            self._engine.drop_copy(memory)
        return asking

    def __enter__(self) -> _EngineAsk:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the engine; the next question starts another."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None


def _held_out_ids(held_out: Mapping[str, Sequence[Reflection]]) -> dict[str, set[str]]:
    ids = {corpus: {row.question_id for row in held_out_questions(rows)} for corpus, rows in held_out.items()}
    found = {corpus: names for corpus, names in ids.items() if names}
    if not found:
        raise MergeError(
            "merging: no corpus has held-out reflections, on which alone a merge may be chosen; "
            "raise synthesis.held_out.share and synthesis.held_out.max_questions"
        )
    return found


def _questions(held_out: Mapping[str, Sequence[Reflection]], also: Sequence[Asked]) -> list[Asked]:
    """The held-out questions of all corpora, then `also`, each once."""
    rows = [row for reflections in held_out.values() for row in held_out_questions(reflections)]
    return list({(row.kind, row.question_id): row for row in [*rows, *also]}.values())


def _digest(asked: Sequence[Asked]) -> str:
    return content_id(*sorted(f"{row.kind} {row.question_id}" for row in asked))


def _room(merges: Place, inputs: Inputs) -> int:
    """How many more merged models there is room for."""
    free = merges.free_bytes()
    if free is None:  # on S3 each trial makes as many at once as its own node's disk holds
        return sys.maxsize
    return free // inputs.folder_bytes


def _overlaps(wanted: bool | None) -> bool:
    """Whether merges are made while the engine scores: each takes a core by name."""
    there = ray.cluster_resources()
    return there.get("CPU", 0) >= 2 and (there.get("GPU", 0) >= 1 if wanted is None else wanted)
