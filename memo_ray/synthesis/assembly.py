"""From the results of both passes to the tables: duplicates over all chunks, the cap, the held-out split, the counts.

`UnitResult` rows go in; reflections, ledger, rejects and facts come out. Every pair that was made is afterwards
either a reflection or a reject with its reason: `made == kept + lost` holds for every step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.errors import GenerationError
from memo_ray.rows import Chunk, Document, LedgerEntry, Reflection, Reject
from memo_ray.synthesis import selection, statistics
from memo_ray.synthesis.asking import StepCount
from memo_ray.synthesis.checks import distinct
from memo_ray.synthesis.near_duplicates import thinned
from memo_ray.synthesis.pairs import REASONS, Lost, Pair, lost, plain
from memo_ray.synthesis.provenance import Provenance
from memo_ray.synthesis.recipe import UnitResult
from memo_ray.synthesis.unknown import STEP as UNKNOWN
from memo_ray.synthesis.unknown import EntityIndex, unknown_pairs


@dataclass
class Tables:
    """What the stage writes; the rows are made while they are written, so that they are never all there.

    `facts["with_a_span"]` is there once `ledger` has been read.
    """

    reflections: Iterable[Reflection]
    ledger: Iterable[LedgerEntry]
    rejects: Iterable[Reject]
    facts: dict[str, Any]


def assemble(
    results: Iterable[UnitResult],
    config: SynthesisConfig,
    chunks: Sequence[Chunk] = (),
    documents: Sequence[Document] = (),
) -> Tables:
    """The tables of the whole stage. `results` come in the order of the chunks, then of the candidates.

    `chunks`, `documents`: the corpus, for spans and licences in the ledger and for questions about what it lacks.
    """
    results = list(results)
    counts = total_counts(results)
    pairs = [pair for result in results for pair in result.pairs]
    train, twins = distinct(pair for pair in pairs if pair.split == "train")
    if config.quality.near_duplicates is not None:
        train, alike = thinned(train, config.quality.near_duplicates)
        twins += alike
    kept = selection.chosen(train, config.max_reflections)
    capped: list[Lost] = []
    if len(kept) < len(train):
        ids = {pair.reflection_id for pair in kept}
        capped = [lost(p, "over_cap", "max_reflections is reached") for p in train if p.reflection_id not in ids]
    held_out, dropped = held_out_of((pair for pair in pairs if pair.split == "held_out"), kept, config)
    late = [*twins, *capped, *dropped]
    for loss in late:
        counts.setdefault(loss.step, StepCount()).lost[loss.reason] += 1
    if config.unknown.share:
        unknown = unknown_pairs(kept, EntityIndex.of(chunks, pairs), config.unknown.share)
        counts[UNKNOWN] = StepCount(made=len(unknown))
        kept += unknown
    kept = sorted(kept, key=lambda pair: pair.reflection_id) + held_out
    for pair in kept:
        counts[pair.step].kept += 1
        if pair.kind:
            counts[pair.step].kinds[pair.kind] += 1
    provenance = Provenance(chunks, documents, [*pairs, *kept])
    facts: dict[str, Any] = {
        "by_step": {step: count.to_json() for step, count in counts.items()},
        "train": len(kept) - len(held_out),
        "held_out": len(held_out),
        "offered": offered(pairs, config),
        "gzip_ratio": statistics.gzip_ratio(kept),
        "left_without": statistics.left_without([pair for pair in kept if pair.split == "train"]),
        "texts_with_a_direct_pair": len({(pair.chunk_ids[0], pair.evidence) for pair in kept if pair.step == "direct"}),
    }

    def ledger() -> Iterator[LedgerEntry]:
        facts["with_a_span"] = 0
        for pair in kept:
            entry = provenance.complete(pair, pair.ledger_entry(config.generator.model))
            facts["with_a_span"] += bool(entry.span_documents)
            yield entry

    return Tables(
        reflections=(pair.reflection() for pair in kept),
        ledger=ledger(),
        rejects=(loss.reject() for loss in chain(*(result.losses for result in results), late)),
        facts=facts,
    )


def offered(pairs: Iterable[Pair], config: SynthesisConfig) -> int:
    """How many pairs Step 5 may connect: all of the earlier steps, with the sentence set one a sentence."""
    earlier = [pair for pair in pairs if pair.split == "train" and pair.step != "connections"]
    if config.prompts == "chunk":
        return len(earlier)
    return len({(pair.chunk_ids[0], pair.evidence) for pair in earlier if pair.step == "direct"})


def held_out_of(pairs: Iterable[Pair], kept: list[Pair], config: SynthesisConfig) -> tuple[list[Pair], list[Lost]]:
    """Held-out pairs whose parent is trained and whose question is not, at most `max_questions`, evenly over chunks."""
    pairs = list(pairs)
    wanted, questions = {parent for pair in pairs for parent in pair.parents}, {plain(pair.question) for pair in pairs}
    parents = {key for pair in kept if (key := pair.reflection_id) in wanted} if wanted else set[str]()
    asked = {said for pair in kept if (said := plain(pair.question)) in questions} if questions else set[str]()
    good: list[Pair] = []
    bad: list[Lost] = []
    for pair in pairs:
        if not set(pair.parents) <= parents:
            bad.append(lost(pair, "over_cap", "the pair that it rephrases was not kept"))
        elif plain(pair.question) in asked:
            bad.append(lost(pair, "duplicate", "the question is trained on"))
        else:
            asked.add(plain(pair.question))
            good.append(pair)
    spread = list(selection.round_robin(list(selection.grouped(good).values())))
    most = config.held_out.max_questions
    bad += [lost(pair, "over_cap", "max_questions is reached") for pair in spread[most:]]
    return sorted(spread[:most], key=lambda pair: pair.reflection_id), bad


def total_counts(results: Iterable[UnitResult]) -> dict[str, StepCount]:
    """The counts of all results by step, in the order in which the steps first occur."""
    counts: dict[str, StepCount] = {}
    for result in results:
        for step, data in result.counts.items():
            counts.setdefault(step, StepCount()).add(StepCount.read(data))
    return counts


def total_cost(results: Iterable[UnitResult]) -> dict[str, int]:
    """Prompts, tokens and engine starts of all results."""
    cost: Counter[str] = Counter()
    for result in results:
        cost.update(result.cost)
    return dict(cost)


def check_share(results: Iterable[UnitResult], config: SynthesisConfig, what: str) -> None:
    """Raise GenerationError when too many prompts of a pass came to nothing, or nothing was made at all."""
    results = list(results)
    counts = total_counts(results)
    asked = sum(count.prompts + count.checks for count in counts.values())
    failed = sum((count.failed for count in counts.values()), Counter[str]())
    if not asked:
        return
    share = failed.total() / asked
    if share > config.max_reject_share:
        raise GenerationError(
            f"synthesis, {what}: {share:.0%} of {asked} prompts got no usable reply ({reasons(failed)}; for example: "
            f"{example(results, failed)}), max_reject_share allows {config.max_reject_share:.0%}; "
            "use a larger generator or other prompts"
        )
    if what.startswith("Steps") and not any(count.made for count in counts.values()):
        raise GenerationError(f"synthesis, {what}: the generator made no pair from {asked} prompts; use a larger one")


def reasons(failed: Counter[str], most: int = 3) -> str:
    """The commonest reasons with their counts and meanings, for people."""
    return "; ".join(f"{count} {reason}: {REASONS[reason]}" for reason, count in failed.most_common(most))


def example(results: Iterable[UnitResult], failed: Counter[str]) -> str:
    """What was wrong in the first case of the commonest reason."""
    reason = failed.most_common(1)[0][0]
    return next(loss.detail for result in results for loss in result.losses if loss.reason == reason)
