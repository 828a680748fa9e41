"""Merging beside its two alternatives: a memory retrained on the union of the corpora, and routing between memories.

In go the answers of each memory and of the union's to the same questions; out come the answers that routing gives,
with no model asked again, and one row for each way. Pure functions; `evaluation/stage.py` asks the models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from memo_ray.config.protocol import Routing
from memo_ray.merging.scores import quality
from memo_ray.protocol.routing import Router
from memo_ray.rows import Answer, SweepRow, WayRow

UNION = "union"
ROUTED: dict[Routing, str] = {how: f"routed-{how}" for how in get_args(Routing)}
"""How a routed system is called in the tables of answers."""


def memory_system(corpus: str) -> str:
    """How a corpus's own memory is called in the tables of answers."""
    return f"memory-{corpus}"


def routed_answers(how: Routing, router: Router, answers: Sequence[Answer], corpora: Sequence[str]) -> list[Answer]:
    """What routing answers: of those memories that `router` chooses, the answer that it keeps.

    `answers`: of the memories, each asked every question. Seconds and tokens are those of all memories chosen; a
    question that none of them could be asked is left out.
    """
    by_question: dict[tuple[str, str], dict[str, Answer]] = {}
    for row in answers:
        for corpus in corpora:
            if row.system == memory_system(corpus):
                by_question.setdefault((row.kind, row.question_id), {})[corpus] = row
    routed = []
    for said in by_question.values():
        question = next(iter(said.values())).question
        asked = {name: said[name] for name in router.choose(question) if name in said}
        if asked:
            kept = router.keep(question, {name: row.answer for name, row in asked.items()})
            routed.append(
                replace(
                    asked[kept],
                    system=ROUTED[how],
                    seconds=round(sum(row.seconds for row in asked.values()), 6),
                    input_tokens=sum(row.input_tokens for row in asked.values()),
                    output_tokens=sum(row.output_tokens for row in asked.values()),
                )
            )
    return routed


def routing_accuracy(
    router: Router, answers: Sequence[Answer], owners: Mapping[str, set[str]]
) -> dict[str, dict[str, float]]:
    """By corpus and kind, the share of the questions in `answers` that go first to a memory which they are about.

    `owners`: the corpora that each question id is about.
    """
    questions = {(row.kind, row.question_id): row.question for row in answers}
    found: dict[str, dict[str, list[bool]]] = {}
    for (kind, question_id), question in questions.items():
        right = router.choose(question)[0] in owners[question_id]
        for corpus in owners[question_id]:
            found.setdefault(corpus, {}).setdefault(kind, []).append(right)
    return {corpus: {kind: sum(hits) / len(hits) for kind, hits in kinds.items()} for corpus, kinds in found.items()}


def way_rows(
    answers: Sequence[Answer],
    held_out: Mapping[str, set[str]],
    training: Mapping[str, float],
    union_training: float,
) -> list[WayRow]:
    """A row for each memory, the union and each routing, in the order of their answers.

    `held_out`: question ids by corpus. `training`: seconds of each corpus's training, in the order in which the
    corpora arrive. The union is trained again at each arrival: on the first corpora alone it is taken to cost what
    they cost by themselves, X + (X + Y) with two (paper, Section 5.5); `union_training` is the last one's seconds.
    """
    rows = []
    for system in dict.fromkeys(row.system for row in answers):
        own = [row for row in answers if row.system == system]
        found = quality(own, held_out)
        corpus = next((name for name in training if memory_system(name) == system), None)
        trained, models = sum(training.values()), len(training)
        if corpus is not None:
            trained, models = training[corpus], 1
        elif system == UNION:
            trained, models = _arrivals(training, union_training), 1
        rows.append(
            WayRow(
                way=system,
                recall=found.recall,
                recall_by_corpus=json.dumps(found.recall_by_corpus),
                token_f1=found.token_f1,
                seconds=round(trained, 3),
                models=models,
                answer_seconds=round(sum(row.seconds for row in own) / len(own), 4),
            )
        )
    return rows


def table(
    sweep: Sequence[SweepRow],
    ways: Sequence[WayRow],
    training: Mapping[str, float],
    answer_seconds: Mapping[str, float],
    model_bytes: int,
) -> list[dict[str, Any]]:
    """Merges, union, routing and memories alike, best first.

    `seconds`: of training and merging, once all are there. `seconds_a_question`: for one asked alone, of the merges
    from `answer_seconds` by recipe. `gb_to_serve`: weights of all models that must be loaded, of `model_bytes` each.
    None where not known.
    """
    merges = [
        WayRow(
            way=row.recipe_id,
            recall=row.recall,
            recall_by_corpus=row.recall_by_corpus,
            token_f1=row.token_f1,
            seconds=sum(training.values()) + row.merge_seconds,
            models=1,
            answer_seconds=answer_seconds.get(row.recipe_id, 0.0),
        )
        for row in sweep
    ]
    rows = [
        {
            "way": row.way,
            "recall": row.recall,
            "recall_by_corpus": json.loads(row.recall_by_corpus),
            "token_f1": row.token_f1,
            "seconds": round(row.seconds, 1),
            "models": row.models,
            "seconds_a_question": round(row.answer_seconds, 4) or None,
            "gb_to_serve": round(row.models * model_bytes / 1e9, 6) or None,
        }
        for row in [*merges, *ways]
    ]
    return sorted(rows, key=lambda row: -row["recall"])


def _arrivals(training: Mapping[str, float], union: float) -> float:
    """Seconds of retraining at each arrival: on the first corpus, on the first two, ..., on all (`union`)."""
    seconds = list(training.values())
    return sum(sum(seconds[:count]) for count in range(1, len(seconds))) + union
