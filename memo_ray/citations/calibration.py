"""Chooses the score from which an answer counts as supported, on a run's own held-out rephrasings.

A held-out row asks a trained reflection's question in other words and has its answer: that is supported. The same
question with another reflection's answer is not, and neither is the row when its own reflection is taken out of
the ledger. The threshold is the score that tells these apart best.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from memo_ray.corpus.words import words
from memo_ray.rows import Reflection

if TYPE_CHECKING:
    from memo_ray.citations.ledger import Ledger

DEFAULT_THRESHOLD = 0.35
"""For a run with too few held-out rows to choose on: what `benchmarks/citation_support.py` chooses on MuSiQue."""

FEWEST, MOST = 20, 1000
"""Held-out rows that are needed to choose, and that are looked at."""


WRONG = 2
"""How much a citation of what is not supported counts against one that is found."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The chosen threshold, how many rows it was chosen on (0: the default), and what it does to them.

    `found`: the share of supported answers that reach it; `false`: the share of unsupported ones that do.
    """

    threshold: float = DEFAULT_THRESHOLD
    rows: int = 0
    found: float = 0.0
    false: float = 0.0


def calibrate(ledger: Ledger, held_out: Sequence[Reflection], seed: int = 0) -> Calibration:
    """The threshold for this ledger. With fewer than FEWEST usable rows: the default."""
    shuffled = random.Random(seed)
    if len(held_out) > MOST:
        held_out = shuffled.sample(held_out, MOST)
    answers = sorted({row.answer for row in ledger.reflections})
    supported: list[float] = []
    unsupported: list[float] = []
    for row in held_out:
        entry = ledger.entry(row.reflection_id)
        parents = frozenset(entry.parents) if entry else frozenset()
        others = [answer for answer in shuffled.sample(answers, min(8, len(answers))) if not same(answer, row.answer)]
        if not parents or not others:
            continue
        supported.append(best(ledger, row.question, row.answer))
        unsupported.append(best(ledger, row.question, others[0]))
        unsupported.append(best(ledger, row.question, row.answer, parents | restating(ledger, row, parents)))
    if len(supported) < FEWEST:
        return Calibration()
    return choose(supported, unsupported)


def choose(supported: Sequence[float], unsupported: Sequence[float]) -> Calibration:
    """The threshold with the largest difference between the two shares that reach it, the unsupported counted double:
    a wrong citation misleads more than a missing one.

    It lies half-way between the scores on either side of the cut, so that it suits new answers too; of equals the
    highest.
    """
    scores = sorted({0.0, *supported, *unsupported, 1.0 + 1e-9})
    cuts = [(low + high) / 2 for low, high in pairwise(scores)]
    found = {cut: sum(score >= cut for score in supported) / len(supported) for cut in cuts}
    false = {cut: sum(score >= cut for score in unsupported) / len(unsupported) for cut in cuts}
    cut = max(cuts, key=lambda cut: (found[cut] - WRONG * false[cut], cut))
    return Calibration(cut, len(supported), found[cut], false[cut])


def best(ledger: Ledger, question: str, answer: str, without: frozenset[str] = frozenset()) -> float:
    """The best score that the ledger gives."""
    found = ledger.scored(question, answer, without)
    return found[0][1] if found else 0.0


def same(one: str, other: str) -> bool:
    """Whether one answer's words are among the other's."""
    left, right = set(words(one)), set(words(other))
    return left <= right or right <= left


def restating(ledger: Ledger, row: Reflection, parents: frozenset[str]) -> frozenset[str]:
    """Other reflections made from the same chunks that hold the answer too: taking out only the parent would leave
    the ledger supporting it."""
    entries = [entry for parent in parents if (entry := ledger.entry(parent))]
    chunks = {chunk for entry in entries for chunk in entry.chunk_ids}
    wanted = set(words(row.answer))
    return frozenset(
        other.reflection_id
        for chunk in chunks
        for other in ledger.made_from(chunk)
        if wanted <= set(words(f"{other.question} {other.answer}"))
    )
