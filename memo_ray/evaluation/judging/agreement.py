"""How far a judge agrees with people: accuracy and Cohen's kappa on a labelled sample."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memo_ray.artifacts.place import local_copy
from memo_ray.errors import CorpusError
from memo_ray.evaluation.judging.judge import Judge


@dataclass(frozen=True, slots=True)
class Labelled:
    """An answer that a person called right or wrong."""

    question: str
    references: list[str]
    answer: str
    label: bool


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of `n` labelled answers `judged` had a verdict. `kappa` is None where chance alone would agree fully."""

    n: int
    judged: int
    accuracy: float | None
    kappa: float | None
    called_right_wrongly: int
    called_wrong_wrongly: int


def load_labelled(given: str) -> list[Labelled]:
    """The rows of a JSON Lines file. Raises CorpusError naming file and line of a row that is none."""
    try:
        lines = existing(given).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{given}: the labelled answers cannot be read ({error})") from None
    rows = [labelled(line, f"{given}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]
    if not rows:
        raise CorpusError(f"{given}: holds no labelled answer")
    return rows


def existing(given: str) -> Path:
    """The file of labelled answers on this machine. Raises CorpusError when there is none."""
    path = local_copy(given)
    if not path.is_file():
        raise CorpusError(f"{given}: no such file of labelled answers; correct evaluation.comparison.judge.labelled")
    return path


def labelled(line: str, where: str) -> Labelled:
    """One line as a row. Raises CorpusError."""
    try:
        row: Any = json.loads(line)
        found = Labelled(row["question"], row["references"], row["answer"], row["label"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{where}: needs question, references, answer and label ({error})") from None
    texts = [found.question, found.answer, *(found.references if isinstance(found.references, list) else [None])]
    if not isinstance(found.label, bool) or not all(isinstance(text, str) for text in texts):
        raise CorpusError(f"{where}: label must be true or false, references a list of texts, the rest text")
    return found


async def measure(judge: Judge, rows: Sequence[Labelled]) -> Agreement:
    """Judge every row and compare with its label."""
    verdicts = await asyncio.gather(*(judge.verdict(row.question, row.references, row.answer) for row in rows))
    return compare([row.label for row in rows], [verdict.right for verdict in verdicts])


def compare(labels: Sequence[bool], verdicts: Sequence[bool | None]) -> Agreement:
    """Agreement of verdicts (None: not judged, and not compared) with labels.

    Cohen's kappa is (p - e) / (1 - e) with p the share of agreement and e that expected of two raters who say
    "right" as often as these two do, independently of each other.
    """
    pairs = [(label, verdict) for label, verdict in zip(labels, verdicts, strict=True) if verdict is not None]
    n = len(pairs)
    if not n:
        return Agreement(len(labels), 0, None, None, 0, 0)
    agreed = sum(label == verdict for label, verdict in pairs) / n
    people = sum(label for label, _ in pairs) / n
    judge = sum(verdict for _, verdict in pairs) / n
    expected = people * judge + (1 - people) * (1 - judge)
    return Agreement(
        n=len(labels),
        judged=n,
        accuracy=agreed,
        kappa=(agreed - expected) / (1 - expected) if expected < 1 else None,
        called_right_wrongly=sum(verdict and not label for label, verdict in pairs),
        called_wrong_wrongly=sum(label and not verdict for label, verdict in pairs),
    )
