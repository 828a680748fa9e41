"""A router over the memories' own reflections: it sends a question to the memory that was trained on the likest ones.

In go the reflections of each memory; out comes who is asked, and of several answers the one that its own memory's
reflections support best. No model is needed, and the same question always goes the same way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memo_ray.citations.files import LedgerFiles, rows_of
from memo_ray.citations.ledger import Ledger
from memo_ray.config.protocol import Routing
from memo_ray.corpus.bm25 import Bm25
from memo_ray.corpus.words import content
from memo_ray.protocol.abstention import is_unsure
from memo_ray.rows import Reflection

NEAREST = 3
"""A memory's claim to a question is the sum over its so many nearest reflections."""

LOOKED_AT = 200
"""Reflections that are looked at for one question, of all memories together."""


class LedgerRouter:
    """Routes by words: `likeliest` asks the memory with the nearest reflections, `all` asks every one."""

    def __init__(self, ledgers: Mapping[str, Ledger], how: Routing) -> None:
        """`ledgers` by memory. One index over all of them, so that a word's rarity means the same for each."""
        self._ledgers, self._how = ledgers, how
        rows = [(name, row) for name, ledger in ledgers.items() for row in ledger.reflections]
        self._owners = [name for name, _ in rows]
        self._index = Bm25([f"{row.question} {row.answer}" for _, row in rows])

    def choose(self, question: str) -> tuple[str, ...]:
        """The likeliest memory, or all of them with the likeliest first; all as well when no reflection is near."""
        ranked = self.ranked(question)
        return tuple(ranked)[:1] if self._how == "likeliest" and ranked[next(iter(ranked))] > 0 else tuple(ranked)

    def keep(self, question: str, answers: Mapping[str, str]) -> str:
        """The memory whose answer its own ledger supports best; one that abstains comes last, and of equals the
        likelier counts."""
        ranked = [name for name in self.ranked(question) if name in answers]

        def worth(name: str) -> tuple[bool, float]:
            scored = self._ledgers[name].scored(question, answers[name])
            return not is_unsure(answers[name]), scored[0][1] if scored else 0.0

        return max(ranked, key=worth)

    def ranked(self, question: str) -> dict[str, float]:
        """Every memory with its claim to a question, a sum of BM25 scores, the highest first."""
        scores: dict[str, list[float]] = {name: [] for name in self._ledgers}
        # Function words would count for much in a small index.
        for row, score in self._index.top(" ".join(sorted(content(question))), LOOKED_AT):
            scores[self._owners[row]].append(score)
        claims = {name: sum(found[:NEAREST]) for name, found in scores.items()}
        return dict(sorted(claims.items(), key=lambda item: -item[1]))


def router_over(reflections: Mapping[str, Sequence[Reflection]], how: Routing) -> LedgerRouter:
    """The router over memories by the reflections that each was trained on; held-out ones are left out."""
    return LedgerRouter({name: Ledger(rows, [], []) for name, rows in reflections.items()}, how)


def load_router(files: Mapping[str, Sequence[LedgerFiles]], how: Routing) -> LedgerRouter:
    """The same from the tables of each memory's corpora. Raises ConfigError naming a file."""
    rows = {
        name: [row for one in tables for row in rows_of(one.reflections, Reflection)] for name, tables in files.items()
    }
    return router_over(rows, how)
