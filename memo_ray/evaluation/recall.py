"""Answers to figures: recall by system and kind, and the choice of an epoch by them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from memo_ray.errors import ConfigError
from memo_ray.evaluation.asked import KINDS
from memo_ray.rows import Answer


def choose_epoch(answers: Iterable[Answer], epochs: Sequence[str]) -> str:
    """The epoch (system name) with the best recall on held-out questions; of equals the best token F1, then the last.

    `epochs` is in the order of training. Without held-out answers it is the last: test questions are never
    looked at, since a choice made on them would flatter every later figure.
    """
    if not epochs:
        raise ValueError("choose_epoch needs the name of at least one epoch")
    table = recall_table(row for row in answers if row.kind == "held_out")
    scored = [(table[epoch]["held_out"], place) for place, epoch in enumerate(epochs) if epoch in table]
    if not scored:
        return epochs[-1]
    return epochs[max(scored, key=lambda row: (row[0]["recall"], row[0]["token_f1"], row[1]))[1]]


def choice_facts(answers: Iterable[Answer], epochs: Sequence[str]) -> dict[str, object]:
    """What to record about the choice: `epoch`, `chosen_by`, and `held_out_recall` by epoch."""
    answers = list(answers)
    recall = held_out_recall(answers, epochs)
    by = "recall on held-out questions" if recall else "no held-out questions: the last epoch"
    return {"epoch": choose_epoch(answers, epochs), "chosen_by": by, "held_out_recall": recall}


def given_epoch(epoch: int | None, epochs: Sequence[str]) -> dict[str, object] | None:
    """What `choice_facts` gives, for an epoch that the config names; None when it names none. Raises ConfigError."""
    if epoch is None:
        return None
    name = f"epoch-{epoch}"
    if name not in epochs:
        raise ConfigError(f"evaluation.epoch: {epoch}: there are only {', '.join(epochs)}; set epochs: true as well")
    return {"epoch": name, "chosen_by": "evaluation.epoch", "held_out_recall": {}}


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
