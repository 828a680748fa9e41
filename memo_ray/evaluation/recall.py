"""Answers to figures: recall by system and kind, and the choice of an epoch by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from memo_ray.errors import ConfigError
from memo_ray.evaluation.asked import KINDS
from memo_ray.evaluation.overlap import in_other_words
from memo_ray.rows import Answer, Reflection

FEWEST = 5
"""So many held-out questions far from any trained one are needed to choose an epoch on them alone."""


@dataclass(frozen=True, slots=True)
class Deciding:
    """The answered held-out questions that an epoch is chosen on: `ids`, all that were `asked`, and how many are `far`.

    Far ones overlap with no trained question by more than MOST_OVERLAP: a nearer one may be answered from its words
    alone. Where they are fewer than FEWEST, all decide, since with so few it would be chance.
    """

    ids: frozenset[str]
    asked: frozenset[str]
    far: int

    @classmethod
    def among(cls, held_out: Iterable[Answer], reflections: Iterable[Reflection]) -> Deciding:
        """Those among the questions of the answers `held_out`; `reflections`: all that the memory was made from."""
        asked = frozenset(row.question_id for row in held_out)
        far = asked.intersection(row.reflection_id for row in in_other_words(reflections)[0])
        return cls(far if len(far) >= FEWEST else asked, asked, len(far))

    def __str__(self) -> str:
        if not self.asked:
            return "no held-out questions: the last epoch"
        asked = f"{len(self.asked):,} held-out questions"
        if self.far < FEWEST:
            return f"recall on all {asked}, {self.far} of which are far from trained ones"
        return f"recall on the {self.far:,} of {asked} that are far from trained ones"


def choose_epoch(answers: Iterable[Answer], epochs: Sequence[str], reflections: Iterable[Reflection]) -> str:
    """The epoch (system name) with the best recall on the held-out questions that decide.

    Of equals the one with the best recall on all held-out questions, then with the best token F1 there, then the last.
    `epochs` is in the order of training; `reflections`: all that the memory was made from. Without held-out answers it
    is the last: test questions are never looked at, since a choice made on them would flatter every later figure.
    """
    return str(choice_facts(answers, epochs, reflections)["epoch"])


def choice_facts(
    answers: Iterable[Answer], epochs: Sequence[str], reflections: Iterable[Reflection]
) -> dict[str, object]:
    """What to record about `choose_epoch`: `epoch`, `chosen_by`, `held_out_recall` by epoch, and `deciding_recall`, the
    same of the questions that decided."""
    if not epochs:
        raise ValueError("choose_epoch needs the name of at least one epoch")
    held_out = [row for row in answers if row.kind == "held_out"]
    deciding = Deciding.among(held_out, reflections)
    first = held_out_recall((row for row in held_out if row.question_id in deciding.ids), epochs)
    table = recall_table(held_out)
    scored = [(first[epoch], table[epoch]["held_out"], place) for place, epoch in enumerate(epochs) if epoch in first]
    best = max(scored, key=lambda row: (row[0], row[1]["recall"], row[1]["token_f1"], row[2]), default=None)
    return {
        "epoch": epochs[-1 if best is None else best[2]],
        "chosen_by": str(deciding),
        "held_out_recall": held_out_recall(held_out, epochs),
        "deciding_recall": first,
    }


def given_epoch(epoch: int | None, epochs: Sequence[str]) -> dict[str, object] | None:
    """What `choice_facts` gives, for an epoch that the config names; None when it names none. Raises ConfigError."""
    if epoch is None:
        return None
    name = f"epoch-{epoch}"
    if name not in epochs:
        raise ConfigError(f"evaluation.epoch: {epoch}: there are only {', '.join(epochs)}; set epochs: true as well")
    return {"epoch": name, "chosen_by": "evaluation.epoch", "held_out_recall": {}, "deciding_recall": {}}


def is_study(epoch: str, facts: Mapping[str, Any]) -> bool:
    """Whether an epoch, by its name, was a pass over what was wrong; `facts`: of the training that made it."""
    return int(epoch.removeprefix("epoch-")) in facts.get("study", {}).get("epochs", ())


def held_out_recall(answers: Iterable[Answer], epochs: Sequence[str]) -> dict[str, float]:
    """Recall in 0..1 on held-out questions, for every epoch that has answers to some."""
    table = recall_table(row for row in answers if row.kind == "held_out")
    return {epoch: table[epoch]["held_out"]["recall"] for epoch in epochs if epoch in table}


def recall_table(answers: Iterable[Answer]) -> dict[str, dict[str, dict[str, float]]]:
    """`{system: {kind: {"recall", "token_f1", "exact_match", "n"}}}`: means in 0..1 over `n` answers.

    Systems stand in the order of their first answer, kinds in that of `KINDS`.
    """
    groups: dict[str, dict[str, list[Answer]]] = {}
    for row in answers:
        groups.setdefault(row.system, {}).setdefault(row.kind, []).append(row)
    return {
        system: {kind: _means(kinds[kind]) for kind in sorted(kinds, key=KINDS.index)}
        for system, kinds in groups.items()
    }


def _means(rows: Sequence[Answer]) -> dict[str, float]:
    return {
        "recall": sum(row.recalled for row in rows) / len(rows),
        "token_f1": sum(row.token_f1 for row in rows) / len(rows),
        "exact_match": sum(row.exact_match for row in rows) / len(rows),
        "n": len(rows),
    }
