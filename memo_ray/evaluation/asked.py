"""The question sets of the evaluation, from artefacts' rows, each in an order that is the same in every run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml

from memo_ray.rows import Question, Reflection

HOP_KINDS = {0: "questions", 1: "one_hop", 2: "two_hop", 3: "three_hop"}
MANY_HOPS = "four_hop"
GENERAL, FOREIGN = "general", "foreign"
KINDS = ("trained", "held_out", "one_hop", "two_hop", "three_hop", MANY_HOPS, "questions", GENERAL, FOREIGN)
"""Every kind of question, in the order of tables. `four_hop`: four hops or more; `questions`: hops unknown;
`general`: what has nothing to do with any corpus; `foreign`: what nobody can know, where to abstain is right."""

ALONE = ("trained", "held_out", GENERAL, FOREIGN)
"""Kinds that no executive is asked: they try the memory alone."""
UNKNOWN = "I don't know."

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to put to a system; any of `references` is right."""

    question_id: str
    kind: str
    question: str
    references: list[str]


def trained_questions(reflections: Iterable[Reflection], max_trained: int) -> list[Asked]:
    """At most `max_trained` trained reflections, evenly spread over the synthesis steps (kind `trained`)."""
    return evenly(_reflections(reflections, "train", "trained"), max_trained)


def held_out_questions(reflections: Iterable[Reflection]) -> list[Asked]:
    """All held-out rephrasings (kind `held_out`): what epochs, merges and settings are chosen on."""
    return _reflections(reflections, "held_out", "held_out")


def corpus_questions(questions: Iterable[Question]) -> list[Asked]:
    """A corpus's own questions, by kind and then in the order given. They are never used to choose anything."""
    asked = [Asked(row.question_id, hop_kind(row.hops), row.question, row.answers) for row in questions]
    return sorted(asked, key=lambda row: KINDS.index(row.kind))


def general_questions() -> list[Asked]:
    """The fixed set of `general.yaml`: what a memory can still do that it was not trained on."""
    content = yaml.safe_load((Path(__file__).parent / "general.yaml").read_text(encoding="utf-8"))
    return [
        Asked(f"general-{number:02}", GENERAL, row["question"], row["answers"]) for number, row in enumerate(content, 1)
    ]


def unknowable_questions() -> list[Asked]:
    """The fixed set of `foreign.yaml`: whether a memory says that it does not know what is nowhere to be known."""
    content = yaml.safe_load((Path(__file__).parent / "foreign.yaml").read_text(encoding="utf-8"))
    return [Asked(f"foreign-{number:02}", FOREIGN, question, [UNKNOWN]) for number, question in enumerate(content, 1)]


def fixed_questions() -> list[Asked]:
    """What every base and memory is asked beside its own corpus."""
    return [*general_questions(), *unknowable_questions()]


def protocol_questions(asked: Sequence[Asked], count: int) -> list[Asked]:
    """At most `count` of `asked` for the whole protocol: the kinds take turns, and each is evenly spread."""
    by_kind = [[row for row in asked if row.kind == kind] for kind in KINDS]
    shares = [0] * len(by_kind)
    while sum(shares) < min(count, len(asked)):
        for place, rows in enumerate(by_kind):
            if shares[place] < len(rows) and sum(shares) < count:
                shares[place] += 1
    return [row for rows, share in zip(by_kind, shares, strict=True) for row in evenly(rows, share)]


def hop_kind(hops: int) -> str:
    """The kind of a question that needs `hops` steps; 0: unknown."""
    return HOP_KINDS.get(hops, MANY_HOPS)


def evenly(rows: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of `rows` at equal distances, in their order."""
    if count >= len(rows):
        return list(rows)
    return [rows[place * len(rows) // count] for place in range(count)]


def _reflections(reflections: Iterable[Reflection], split: str, kind: str) -> list[Asked]:
    """By step and id: the order in which synthesis finished them differs from run to run."""
    rows = {row.reflection_id: row for row in reflections if row.split == split}
    ordered = sorted(rows.values(), key=lambda row: (row.step, row.reflection_id))
    return [Asked(row.reflection_id, kind, row.question, [row.answer]) for row in ordered]
