"""Several systems on the same questions, side by side: asks them, scores and judges what they say, adds it up.

`compare` is what the evaluation stage calls; every answer is kept as it comes, so that a killed evaluation goes on.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memo_ray.artifacts.store import Artifact
from memo_ray.config.comparison import Bm25, Cartridge, ComparisonConfig, Dense, HippoRag
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.evaluation import metrics, official
from memo_ray.evaluation.asked import evenly, hop_kind
from memo_ray.evaluation.judging.agreement import load_labelled, measure
from memo_ray.evaluation.judging.judge import Judge, Verdict
from memo_ray.evaluation.losses import lost_at
from memo_ray.evaluation.systems.cartridges import from_text
from memo_ray.evaluation.systems.opening import Models, name_of, open_system
from memo_ray.evaluation.systems.running import Ran, folder_name, run_system
from memo_ray.evaluation.systems.system import Corpus, Failed, Query, Said
from memo_ray.evaluation.tabulation import Table, tabulate
from memo_ray.models.openai import OpenAIChatModel
from memo_ray.progress import Progress
from memo_ray.rows import Chunk, Document, Question, Reject, SystemAnswer, content_id

NO_QUESTIONS = (
    "evaluation.comparison: there is no question to compare systems on; name a file in corpora.NAME.questions, "
    "or leave comparison out"
)


@dataclass
class Compared:
    """The rows of a comparison and its table."""

    answers: list[SystemAnswer] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    table: Table | None = None


def corpora_of(artefacts: Mapping[str, Artifact], most: int | None) -> list[tuple[Corpus, list[Query]]]:
    """Each corpus with at most `most` of its questions, evenly spread."""
    found = []
    for name, made in artefacts.items():
        corpus = Corpus(name, made.record.digest, made.rows("documents", Document), made.rows("chunks", Chunk))
        found.append((corpus, [query_of(row) for row in chosen(made, most)]))
    return found


def chosen(corpus: Artifact, most: int | None) -> list[Question]:
    """At most `most` of a corpus's questions, evenly spread; none: all."""
    rows = corpus.rows("questions", Question)
    return evenly(rows, most) if most is not None else rows


def pooled(name: str, corpora: Sequence[tuple[Corpus, Sequence[Query]]]) -> tuple[Corpus, list[Query]]:
    """All corpora as one called `name`. Raises ConfigError for an id that two of their questions have."""
    parts, queries = [corpus for corpus, _ in corpora], [query for _, asked in corpora for query in asked]
    twice = [name for name, count in Counter(query.question_id for query in queries).items() if count > 1]
    if twice:
        raise ConfigError(f"evaluation.comparison.together: two corpora have a question {twice[0]}; rename one of them")
    documents = [row for corpus in parts for row in corpus.documents]
    chunks = [row for corpus in parts for row in corpus.chunks]
    return Corpus(name, content_id(*(corpus.digest for corpus in parts)), documents, chunks), queries


def query_of(row: Question) -> Query:
    """A corpus's question as systems get it."""
    return Query(row.question_id, hop_kind(row.hops), row.question, row.answers, row.document_ids)


def compare(
    config: ComparisonConfig,
    models: Models,
    corpora: Sequence[tuple[Corpus, Sequence[Query]]],
    folder: Path,
    progress: Progress,
) -> Compared:
    """Every system of `config` on every corpus's questions under every seed, judged, with its table.

    `folder` keeps answers, the judge's replies and indexes for a later try. A system that fails fails alone, and its
    questions are rejects. `models` are closed at the end. Raises GenerationError when no system answered anything or
    the judge never replied, ConfigError for settings that cannot be used and corpora without a question.
    """
    return asyncio.run(_compare(config, models, corpora, folder, progress))


async def _compare(
    config: ComparisonConfig,
    models: Models,
    corpora: Sequence[tuple[Corpus, Sequence[Query]]],
    folder: Path,
    progress: Progress,
) -> Compared:
    if not any(queries for _, queries in corpora):
        raise ConfigError(NO_QUESTIONS)
    if config.together is not None:
        corpora = [pooled(config.together, corpora)]
    compared = Compared()
    judge = Judge(OpenAIChatModel(config.judge.model, folder / "judge.jsonl"), config.judge) if config.judge else None
    runs: list[Ran] = []
    try:
        for corpus, queries in corpora:
            for place, settings in enumerate(config.systems):
                system = open_system(settings, config, models, f"evaluation.comparison.systems.{place}")
                label = f"{system.name} on {corpus.name}"
                home = folder / folder_name(corpus.name) / folder_name(system.name)

                def count(done: int, of: int, label: str = label) -> None:
                    progress(done, of, label)

                ran = await run_system(system, corpus, queries, config.seeds, home, count)
                runs.append(ran)
                searches = isinstance(settings, Bm25 | Dense | HippoRag)
                compared.answers += await scored(ran, queries, judge, searches)
                compared.rejects += rejects_of(ran, queries)
        if not compared.answers:
            raise GenerationError(f"evaluation.comparison: no system answered: {compared.rejects[0].detail}")
        compared.rejects += unjudged(compared.answers)
        lost = next((row.reason for row in compared.answers if row.verdict == "unjudged"), "")
        if judge is not None and lost and not judge.replies:
            raise GenerationError(
                f"evaluation.comparison.judge: judged nothing: {lost}; answers are kept, so the same command goes on"
            )
        compared.facts = await facts_of(config, judge, runs)
        compared.facts |= cartridge_facts(config, [corpus for corpus, _ in corpora])
    finally:
        for model in (judge, models.executive, models.memory):
            if model is not None:
                await model.close()
    compared.table = tabulate(config, runs, compared.answers)
    return compared


async def scored(ran: Ran, queries: Sequence[Query], judge: Judge | None, searches: bool) -> list[SystemAnswer]:
    """A system's answers with every score, in the questions' order, seed by seed; `searches` as in `lost_at`."""
    asked = {query.question_id: query for query in queries}
    said = [(seed, row) for seed, rows in ran.answers.items() for row in rows]
    verdicts: Sequence[Verdict | None] = [None] * len(said)
    if judge is not None:
        verdicts = await asyncio.gather(*(verdict(judge, asked[row.question_id], row) for _, row in said))
    return [
        answer_row(ran, seed, asked[row.question_id], row, found, searches)
        for (seed, row), found in zip(said, verdicts, strict=True)
    ]


async def verdict(judge: Judge, query: Query, said: Said) -> Verdict:
    """The judge's word on one answer."""
    return await judge.verdict(query.question, query.references, said.answer)


def answer_row(ran: Ran, seed: int, query: Query, said: Said, found: Verdict | None, searches: bool) -> SystemAnswer:
    """One answer, scored."""
    plain = official.score(said.answer, query.references)
    recalled = metrics.score(said.answer, query.references).recalled
    right = recalled if found is None else found.right
    return SystemAnswer(
        question_id=query.question_id,
        corpus=ran.corpus,
        system=ran.system,
        seed=seed,
        kind=query.kind,
        question=query.question,
        references=query.references,
        answer=said.answer,
        verdict="" if found is None else {True: "right", False: "wrong", None: "unjudged"}[found.right],
        reason="" if found is None else found.reason,
        recalled=recalled,
        contained=plain.contained,
        exact_match=plain.exact_match,
        token_f1=plain.f1,
        support_f1=official.support_f1(said.retrieved, query.evidence),
        retrieved=said.retrieved,
        evidence=query.evidence,
        note=said.note,
        lost=lost_at(query, said, searches) if right is False else "",
        seconds=round(said.cost.seconds, 6),
        calls=said.cost.calls,
        tokens=json.dumps(said.cost.tokens),
        transcript="\n".join(said.transcript),
    )


def rejects_of(ran: Ran, queries: Sequence[Query]) -> list[Reject]:
    """A row for every question that a system could not be asked."""
    asked = {query.question_id: query.question for query in queries}

    def row(seed: int, failed: Failed) -> Reject:
        step = f"{ran.system}/{ran.corpus}/seed {seed}"
        return Reject(failed.question_id, "evaluation", step, failed.reason, failed.detail,
                      prompt=asked[failed.question_id])  # fmt: skip

    return [row(seed, failed) for seed, rows in ran.failed.items() for failed in rows]


def unjudged(answers: Sequence[SystemAnswer]) -> list[Reject]:
    """A row for every answer that the judge could not judge; it counts neither as right nor as wrong."""
    return [
        Reject(row.question_id, "evaluation", f"judge/{row.system}/{row.corpus}/seed {row.seed}", "unjudged",
               row.reason, prompt=row.question, reply=row.answer)
        for row in answers if row.verdict == "unjudged"
    ]  # fmt: skip


async def facts_of(config: ComparisonConfig, judge: Judge | None, runs: Sequence[Ran]) -> dict[str, Any]:
    """What the record keeps beside the rows: which systems failed, how far the judge agrees with people, and what all
    its replies cost, those kept from an earlier try included."""
    facts: dict[str, Any] = {
        "failed_systems": {f"{ran.system}/{ran.corpus}": ran.problem for ran in runs if ran.problem}
    }
    if judge is not None and config.judge is not None:
        facts["judge"] = {"model": judge.name}
        if config.judge.labelled:
            facts["judge"] |= asdict(await measure(judge, load_labelled(config.judge.labelled)))
        facts["judge"] |= {"replies": judge.replies, "tokens": [judge.input_tokens, judge.output_tokens]}
    return facts


def cartridge_facts(config: ComparisonConfig, corpora: Sequence[Corpus]) -> dict[str, Any]:
    """How many cartridges learned from a document's text, for want of reflections; nothing without cartridges."""
    there = {name_of(system): system.adapters for system in config.systems if isinstance(system, Cartridge)}
    counts = {
        f"{name}/{corpus.name}": from_text(adapters, corpus)
        for name, adapters in there.items() if adapters
        for corpus in corpora
    }  # fmt: skip
    return {"cartridges_from_text": counts} if counts else {}
