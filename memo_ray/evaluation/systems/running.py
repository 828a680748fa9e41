"""Puts questions to a system under every seed, and keeps each answer as it comes, so that a killed run goes on.

The journal is a file of JSON lines a system and seed. A question that failed is not kept: the next run asks it again.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memo_ray.errors import GenerationError
from memo_ray.evaluation.systems.system import Corpus, Cost, Failed, Query, Said, System

OnAnswer = Callable[[int, int], None]
"""Called with how many questions of all seeds are done, and how many there are."""


@dataclass
class Ran:
    """What a system did on a corpus. `answers`: by seed. `prepared`: None when it could not be prepared."""

    system: str
    corpus: str
    prepared: Cost | None = None
    answers: dict[int, list[Said]] = field(default_factory=dict)
    failed: dict[int, list[Failed]] = field(default_factory=dict)
    problem: str = ""


class Journal:
    """The answers of one system under one seed, in a file."""

    def __init__(self, path: Path, queries: Sequence[Query]) -> None:
        self._path = path
        self._known = {query.question_id: fingerprint(query) for query in queries}

    def read(self) -> dict[str, Said]:
        """Answers of an earlier try to the same questions; a line that was cut off is passed over."""
        found: dict[str, Said] = {}
        if not self._path.is_file():
            return found
        for line in self._path.read_text(encoding="utf-8").split("\n"):
            try:
                row = json.loads(line)
                if self._known.get(row["said"]["question_id"]) == row["query"]:
                    found[row["said"]["question_id"]] = said_of(row["said"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def add(self, said: Said) -> None:
        """Keep one answer."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            # A line of its own even after one that was cut off.
            file.write("\n" + json.dumps({"query": self._known[said.question_id], "said": asdict(said)}))


def said_of(row: dict[str, Any]) -> Said:
    """The inverse of `asdict`. Raises KeyError or TypeError for another form."""
    return Said(**{**row, "cost": cost_of(row["cost"])})


def cost_of(row: dict[str, Any]) -> Cost:
    """The inverse of `asdict`. Raises KeyError or TypeError for another form."""
    return Cost(**{**row, "tokens": {name: tuple(pair) for name, pair in row["tokens"].items()}})


def fingerprint(query: Query) -> str:
    """Sixteen hexadecimal digits of what was asked."""
    return hashlib.sha256("\x1f".join([query.question, *sorted(query.evidence)]).encode()).hexdigest()[:16]


async def run_system(
    system: System,
    corpus: Corpus,
    queries: Sequence[Query],
    seeds: Sequence[int],
    folder: Path,
    on_answer: OnAnswer | None = None,
) -> Ran:
    """Prepare `system` and put every question to it under every seed; one that cannot be prepared says why.

    What ends a system's questions ends them alone: the others go on. `folder` is this system's own.
    """
    ran = Ran(system.name, corpus.name)
    asked = {seed: Journal(folder / f"answers-{seed}.jsonl", queries) for seed in seeds}
    known = {seed: journal.read() for seed, journal in asked.items()}
    try:
        ran.prepared = dearest(await system.prepare(corpus, folder), folder / "prepared.json")
        for seed in seeds:
            left = [query for query in queries if query.question_id not in known[seed]]
            ran.failed[seed] = []
            async for outcome in system.answer(left, seed):
                if isinstance(outcome, Failed):
                    ran.failed[seed].append(outcome)
                else:
                    asked[seed].add(outcome)
                    known[seed][outcome.question_id] = outcome
                if on_answer:
                    on_answer(sum(map(len, known.values())), len(queries) * len(seeds))
    except GenerationError as error:
        ran.problem = str(error)
        for seed in seeds:
            done = known[seed].keys() | {row.question_id for row in ran.failed.get(seed, ())}
            left = [query.question_id for query in queries if query.question_id not in done]
            ran.failed.setdefault(seed, []).extend(Failed(name, "system_failed", ran.problem) for name in left)
    finally:
        await system.close()
    ran.answers = {
        seed: [known[seed][query.question_id] for query in queries if query.question_id in known[seed]]
        for seed in seeds
    }
    return ran


def dearest(cost: Cost, kept: Path) -> Cost:
    """The most that any try has spent on preparing, kept in a file: a later try finds the index, and spends nothing."""
    try:
        earlier = cost_of(json.loads(kept.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        earlier = cost
    most = max(cost, earlier, key=lambda one: (one.input_tokens + one.output_tokens, one.seconds))
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(asdict(most)), encoding="utf-8")
    return most


def folder_name(system: str) -> str:
    """A system's name as a folder's; one that must be written differently ends in a digest, for "a b" is not "a+b"."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", system)
    return plain if plain == system else f"{plain}-{hashlib.sha256(system.encode()).hexdigest()[:8]}"
