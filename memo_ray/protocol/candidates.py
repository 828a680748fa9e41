"""The candidates of Stage 2: their streaks of uncertain answers, demotion, elimination and the best of them.

Paper, Appendix J, Table 15. Pure functions over tuples of Candidate and Tally; names are compared by `key`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.protocol.quoting import clean, key
from memo_ray.protocol.schemas import MAX_CANDIDATES, MAX_CLUES, NAME_LENGTH
from memo_ray.protocol.state import Candidate, SubQuestion, Tally

NO_NAME = frozenset({"", "none", "null", "n a", "unknown"})
"""What models write where a name is asked for and there is none."""

RANKS_DOWN = 2

Candidates = tuple[Candidate, ...]
Tallies = tuple[Tally, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """The candidates after a turn's answers, with the names moved down and struck off in this turn."""

    candidates: Candidates
    tallies: Tallies
    demoted: tuple[str, ...] = ()
    struck: tuple[str, ...] = ()


def name_of(text: str) -> str:
    """The name that a reply gives, or an empty string when it says that there is none."""
    name = clean(text, NAME_LENGTH)
    return "" if key(name) in NO_NAME else name


def tally_of(tallies: Tallies, name: str) -> Tally:
    """The tally of `name`; a fresh one when there is none."""
    return next((tally for tally in tallies if tally.key == key(name)), Tally(key(name)))


def with_tally(tallies: Tallies, tally: Tally) -> Tallies:
    """`tallies` with that of the same key replaced or added."""
    return (*(other for other in tallies if other.key != tally.key), tally)


def listed(candidates: Candidates, name: str) -> Candidate | None:
    """The candidate called `name`."""
    return next((candidate for candidate in candidates if key(candidate.name) == key(name)), None)


def best(candidates: Candidates) -> Candidate | None:
    """The lowest rank, the first in the executive's order on a tie."""
    return min(candidates, key=lambda candidate: candidate.rank, default=None)


def confirm(tallies: Tallies, findings: Iterable[dict[str, Any]], certain: Collection[int]) -> Tallies:
    """`tallies` after a reply's findings. Only an answer that is not "I don't know" (`certain`) can confirm."""
    for finding in findings:
        name = name_of(finding["about"])
        if name and finding["effect"] == "confirms" and finding["evidence"] in certain:
            tallies = with_tally(tallies, replace(tally_of(tallies, name), confirmed=True))
    return tallies


def replacement(
    rows: Sequence[dict[str, Any]], tallies: Tallies, certain: Collection[int]
) -> tuple[Candidates, tuple[str, ...]]:
    """The executive's new list in its order, and the names refused because they had been struck off.

    A candidate that was moved down stays at that rank or below while nothing is confirmed about it. Clues that
    are no certain evidence are left out; of two rows with one name the first counts.
    """
    kept: dict[str, Candidate] = {}
    refused: dict[str, str] = {}
    for row in rows:
        name = name_of(row["name"])
        tally = tally_of(tallies, name)
        if not name or tally.key in kept:
            continue
        if tally.struck:
            refused[tally.key] = name
            continue
        rank = int(row["rank"]) if tally.confirmed else max(int(row["rank"]), tally.lowest)
        supporting, disqualifying = (known(row[side], certain)[:MAX_CLUES] for side in ("for", "against"))
        kept[tally.key] = Candidate(name, rank, supporting, disqualifying)
    return tuple(kept.values())[:MAX_CANDIDATES], tuple(refused.values())


def known(numbers: Iterable[int], certain: Collection[int]) -> tuple[int, ...]:
    """Those of a reply's evidence numbers that are in `certain`, each once."""
    return tuple(dict.fromkeys(int(number) for number in numbers if number in certain))


def aimed_at(question: SubQuestion, candidates: Candidates) -> tuple[str, ...]:
    """The keys of the listed candidates at which a sub-question is aimed: the one it names as `about`, or else
    every one whose full name stands in it."""
    if question.about and (candidate := listed(candidates, question.about)):
        return (key(candidate.name),)
    words = f" {key(question.question)} "
    return tuple(key(candidate.name) for candidate in candidates if f" {key(candidate.name)} " in words)


def judge(candidates: Candidates, tallies: Tallies, unsure: Iterable[str], config: ProtocolConfig) -> Judged:
    """Count one turn's uncertain answers (`unsure`: a candidate's key for each) and apply both limits.

    `demote_after` of them with nothing confirmed move a candidate down two ranks, once; `eliminate_after`
    strike it off for good.
    """
    for name in unsure:
        tally = tally_of(tallies, name)
        tallies = with_tally(tallies, replace(tally, unsure=tally.unsure + 1))
    kept: list[Candidate] = []
    demoted: list[str] = []
    struck: list[str] = []
    for candidate in candidates:
        tally = tally_of(tallies, candidate.name)
        if tally.unsure >= config.eliminate_after:
            tallies = with_tally(tallies, replace(tally, struck=True))
            struck.append(candidate.name)
            continue
        if tally.unsure >= config.demote_after and not tally.confirmed and not tally.lowest:
            candidate = replace(candidate, rank=candidate.rank + RANKS_DOWN)
            tallies = with_tally(tallies, replace(tally, lowest=candidate.rank))
            demoted.append(candidate.name)
        kept.append(candidate)
    return Judged(tuple(kept), tallies, tuple(demoted), tuple(struck))


def pivot(candidates: Candidates, entity: str, wanted: str) -> Candidate | None:
    """The other listed candidate that Stage 3 names instead of `entity`; none when it keeps the entity or the
    name is not listed."""
    candidate = listed(candidates, name_of(wanted))
    return candidate if candidate and key(candidate.name) != key(entity) else None
