"""What a memory still knows of a document: its own questions, and those that should still be answered as before.

Questions in four groups go to the base and to the memories before and after, on one engine; out comes the recall of
each group with a Wilson interval.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from memo_ray.artifacts.place import Location
from memo_ray.artifacts.store import Artifact
from memo_ray.continual.dropping import Dropped
from memo_ray.evaluation.asked import Asked, corpus_questions, evenly, held_out_questions, trained_questions
from memo_ray.evaluation.ray_evaluation import ask_alone
from memo_ray.models.ray_engine import Engine
from memo_ray.progress import Progress, unheard
from memo_ray.rows import Answer, Question, Reflection

GROUPS = ("own", "shared", "rest", "others")
"""Questions about the document alone; about it and others; about the rest of its corpus; about the other corpora."""

FEWEST = 10
"""With fewer own questions nobody can say that a document is forgotten."""

MARGIN = 0.05
"""Share of the own questions that chance may add to those which the base recalls."""

SIGNIFICANT = 0.05

RULE = (
    f"true: of {FEWEST} or more own questions at most {MARGIN:.0%} of n more are recalled than by the base; "
    f"false: more than that, and a one-sided exact test (Fisher) has p < {SIGNIFICANT}; null: too few questions to tell"
)
"""How `at_base_level` is decided; it can be worked out again from the certificate's counts."""

Probes = Mapping[str, Sequence[Asked]]


class Recall(TypedDict):
    """`recalled` of `n` questions, the share in 0..1 and its 95% Wilson interval; None where `n` is 0."""

    n: int
    recalled: int
    recall: float | None
    low: float | None
    high: float | None


def probes_of(
    document_id: str, dropped: Dropped, corpus: Artifact, others: Iterable[tuple[Artifact, Artifact]], most: int
) -> dict[str, list[Asked]]:
    """Up to `most` questions of each group, evenly spread: reflections, and the corpora's own questions.

    `corpus` still holds the document; `others` are the other corpora, each with its synthesis.
    """
    questions = corpus.rows("questions", Question)
    about = {row.question_id: set(row.document_ids) for row in questions}
    groups = {
        "own": [
            *asked(dropped.own),
            *corpus_questions(row for row in questions if about[row.question_id] == {document_id}),
        ],
        "shared": [
            *asked(dropped.shared),
            *corpus_questions(row for row in questions if about[row.question_id] > {document_id}),
        ],
        "rest": [
            *asked(dropped.kept),
            *corpus_questions(row for row in questions if document_id not in about[row.question_id]),
        ],
        "others": [
            row
            for made, synthesis in others
            for row in [
                *asked(synthesis.rows("reflections", Reflection)),
                *corpus_questions(made.rows("questions", Question)),
            ]
        ],
    }
    return {group: evenly(rows, most) for group, rows in groups.items()}


def asked(reflections: Sequence[Reflection]) -> list[Asked]:
    """Trained and held-out reflections as questions."""
    return [*trained_questions(reflections, len(reflections)), *held_out_questions(reflections)]


def probe(
    engine: Engine,
    systems: Mapping[str, Location],
    probes: Probes,
    max_tokens: int,
    loaded: Location | None = None,
    progress: Progress = unheard,
) -> dict[str, dict[str, Recall]]:
    """Recall by system (name → model folder) and group. `loaded`: the folder that the engine holds already."""
    rows = list({key(row): row for group in probes.values() for row in group}.values())

    def count(system: str, done: int, of: int) -> None:
        progress(list(systems).index(system) * of + done, len(systems) * of, f"asking {system}")

    answers = ask_alone(engine, systems, rows, max_tokens, count, loaded).answers if rows else []
    return {system: recall_by_group([row for row in answers if row.system == system], probes) for system in systems}


def recall_by_group(answers: Iterable[Answer], probes: Probes) -> dict[str, Recall]:
    """One system's recall of every group. A question that could not be asked counts as not recalled."""
    recalled = {(row.kind, row.question_id) for row in answers if row.recalled}
    return {group: recall(sum(key(row) in recalled for row in rows), len(rows)) for group, rows in probes.items()}


def recall(recalled: int, n: int) -> Recall:
    """`recalled` of `n` with its 95% Wilson score interval."""
    if not n:
        return {"n": 0, "recalled": 0, "recall": None, "low": None, "high": None}
    from scipy.stats import binomtest

    interval = binomtest(recalled, n).proportion_ci(0.95, method="wilson")
    return {
        "n": n, "recalled": recalled, "recall": round(recalled / n, 4),
        "low": round(float(interval.low), 4), "high": round(float(interval.high), 4),
    }  # fmt: skip


def key(row: Asked) -> tuple[str, str]:
    """What tells a question from every other."""
    return row.kind, row.question_id


def kept_share(before: Recall, after: Recall) -> float | None:
    """How much of its former recall a group still has; None when there was nothing to keep."""
    return round(after["recalled"] / before["recalled"], 4) if before["recalled"] else None


def at_base_level(base: Recall, after: Recall) -> bool | None:
    """Whether the document's own questions are answered as the base model answers them, by `RULE`.

    None without a question, and where there are too few to tell.
    """
    n, excess = after["n"], after["recalled"] - base["recalled"]
    if not n:
        return None
    if excess <= MARGIN * n:
        return True if n >= FEWEST else None
    from scipy.stats import hypergeom

    # Fisher's exact test: so many or more of all recalled questions would fall to the memory by chance.
    p = float(hypergeom.sf(after["recalled"] - 1, 2 * n, after["recalled"] + base["recalled"], n))
    return None if p >= SIGNIFICANT else False
