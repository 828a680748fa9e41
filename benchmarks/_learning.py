"""The figures of `candidates_learning.py`: what all memories are asked, and who knew what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from memo_ray.artifacts.store import Artifact
from memo_ray.evaluation.asked import Asked
from memo_ray.evaluation.significance import Scores, difference
from memo_ray.evaluation.stage import question_sets
from memo_ray.rows import Answer, Question, Reflection

STEP_5 = "connections"


def check_the_same(rows: Mapping[str, Iterable[Reflection]]) -> None:
    """Refuse arms that differ in anything but Step 5."""
    earlier = {arm: {row.reflection_id for row in found if row.step != STEP_5} for arm, found in rows.items()}
    for arm, ids in earlier.items():
        different = len(ids ^ next(iter(earlier.values())))
        if different:
            raise SystemExit(f"{arm}: {different} reflections of Steps 1 to 4 are not those of the other arms")


def asked_of(rows: Mapping[str, list[Reflection]], corpus: Artifact, most: int) -> list[Asked]:
    """What every memory is asked. `most`: at most so many trained reflections, over all arms and steps."""
    union = {row.reflection_id: row for found in rows.values() for row in found}
    return question_sets({"all": list(union.values())}, {"all": corpus.rows("questions", Question)}, most)


def question_names(rows: Mapping[str, list[Reflection]], asked: Iterable[Asked]) -> dict[str, set[str]]:
    """The ids of the questions of each figure: by kind, and of trained ones by step, Step 5's by whose they are."""
    step = {row.reflection_id: row.step for found in rows.values() for row in found}
    of = {arm: {row.reflection_id for row in found} for arm, found in rows.items()}
    sets: dict[str, set[str]] = {}
    for row in asked:
        for name in figures_of(row, step, of):
            sets.setdefault(name, set()).add(row.question_id)
    return sets


def figures_of(row: Asked, step: Mapping[str, str], of: Mapping[str, set[str]]) -> Iterator[str]:
    """The figures in which a question counts."""
    if row.kind not in ("trained", "held_out"):
        yield "questions"
    if row.kind != "trained":
        yield row.kind
    elif step[row.question_id] != STEP_5:
        yield from ("steps 1 to 4", step[row.question_id])
    else:
        whose = "candidates" if row.question_id in of.get("candidates", ()) else "all_pairs only"
        yield f"{STEP_5} of {whose}"


def scores(answers: Iterable[Answer], arm: str, seeds: Iterable[int]) -> Scores:
    """Question -> seed -> recalled or not."""
    names = {"base": 0} if arm == "base" else {f"{arm}-{seed}": seed for seed in seeds}
    found: dict[str, dict[int, float]] = {}
    for row in answers:
        if row.system in names:
            found.setdefault(row.question_id, {})[names[row.system]] = float(row.recalled)
    return found


def recall(recalled: Scores, sets: Mapping[str, set[str]]) -> dict[str, float | None]:
    """The mean over questions and seeds of each figure."""
    means = {}
    for name, ids in sets.items():
        values = [value for question in ids for value in recalled.get(question, {}).values()]
        means[name] = round(sum(values) / len(values), 4) if values else None
    return means


def compared(arm: str, recalled: Mapping[str, Scores], sets: Mapping[str, set[str]]) -> dict[str, Any]:
    """`arm` less `all_pairs`, by figure."""
    told = {}
    for name, ids in sets.items():
        left, right = ({id_: recalled[of][id_] for id_ in ids if id_ in recalled[of]} for of in (arm, "all_pairs"))
        found = difference(arm, "all_pairs", left, right)
        if found is not None:
            told[name] = {
                key: value if value is None or isinstance(value, int) else round(value, 4)
                for key, value in asdict(found).items()
                if key in ("mean", "low", "high", "p", "questions")
            }
    return told
