"""What a sweep has done so far, and which of its merges are best.

In go the answers of merged memories; out come their recall on held-out reflections by corpus and a ranking. Each
recipe's merge and score is put into the sweep's progress as soon as it is done, so a killed sweep goes on.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from memo_ray.artifacts.local import LocalPlace
from memo_ray.artifacts.place import Location, Place, local_folder
from memo_ray.artifacts.tables import read_rows, write_rows
from memo_ray.config.merging import MergeRecipe
from memo_ray.merging.recipes import parameters
from memo_ray.rows import Answer, Reject, SweepRow


@dataclass(frozen=True)
class Scored:
    """What one merged memory said, and how long it took to make and to ask."""

    answers: list[Answer]
    rejects: list[Reject]
    merge_seconds: float
    score_seconds: float


@dataclass(frozen=True)
class Quality:
    """One merge on held-out reflections: recall by corpus, and token F1 as a mean over the corpora."""

    recall_by_corpus: dict[str, float]
    token_f1: float

    @property
    def recall(self) -> float:
        """The mean over the corpora: every corpus counts the same, however many reflections it holds out."""
        return sum(self.recall_by_corpus.values()) / len(self.recall_by_corpus)


def quality(answers: Sequence[Answer], held_out: Mapping[str, set[str]]) -> Quality:
    """Quality from the answers of kind `held_out`; `held_out` gives each corpus's question ids.

    A corpus none of whose questions could be asked counts as 0.
    """
    recall, token_f1 = {}, []
    for corpus, ids in held_out.items():
        rows = [row for row in answers if row.kind == "held_out" and row.question_id in ids]
        recall[corpus] = sum(row.recalled for row in rows) / len(rows) if rows else 0.0
        token_f1.append(sum(row.token_f1 for row in rows) / len(rows) if rows else 0.0)
    return Quality(recall, sum(token_f1) / len(token_f1))


def rank(qualities: Mapping[str, Quality]) -> list[str]:
    """Recipe ids, best first: by recall, then the worst corpus's recall, then token F1, then the order given."""

    def worth(name: str) -> tuple[float, float, float]:
        found = qualities[name]
        return -found.recall, -min(found.recall_by_corpus.values()), -found.token_f1

    return sorted(qualities, key=worth)


def sweep_rows(
    recipes: Mapping[str, MergeRecipe],
    scored: Mapping[str, Scored],
    qualities: Mapping[str, Quality],
    kept: Sequence[str],
) -> list[SweepRow]:
    """The sweep's table, in the order of `recipes`."""
    return [
        SweepRow(
            recipe_id=name,
            method=recipe.method,
            parameters=json.dumps(parameters(recipe)),
            recall=qualities[name].recall,
            recall_by_corpus=json.dumps(qualities[name].recall_by_corpus),
            token_f1=qualities[name].token_f1,
            merge_seconds=scored[name].merge_seconds,
            score_seconds=scored[name].score_seconds,
            kept=name in kept,
        )
        for name, recipe in recipes.items()
    ]


class SweepProgress:
    """The sweep's progress: folders `merges/<id>` (weights) and `scores/<id>` (answers), each with its seconds beside.

    `asked` identifies the questions; scores of other questions are not reused.
    """

    def __init__(self, place: Place, asked: str) -> None:
        self.place = place
        self.merges = place.child("merges")
        self.scores = place.child(f"scores/{asked}")

    def merged(self, recipe_id: str) -> Location | None:
        """The finished merge of a recipe, unless it was removed again."""
        return self.merges.location(recipe_id) if self.merges.get(_seconds(recipe_id)) else None

    @contextmanager
    def merging(self, recipe_ids: Sequence[str]) -> Iterator[dict[str, Path]]:
        """Yield a folder for each merge of a pass to be made in; when the block ends well these are the merges.

        A merge's seconds are its share of the pass. What a killed pass left of the same merges goes first: the disk
        has been asked for them once, and this pass may take the place of one whose worker was lost.
        """
        self.clear(recipe_ids)
        clock = time.monotonic()
        with ExitStack() as stack:
            yield {name: stack.enter_context(self.merges.storing(name)) for name in recipe_ids}
            share = round((time.monotonic() - clock) / len(recipe_ids), 3)
            # First, so that a merge without its seconds is no finished one.
            for name in recipe_ids:
                self.merges.put(_seconds(name), json.dumps(share).encode())

    def clear(self, recipe_ids: Sequence[str] | None = None) -> None:
        """Free the space of merges (None: all) that were left half-written by a kill; none of them may be under way."""
        if isinstance(self.merges, LocalPlace):
            for left in self.merges.folder.glob(".*"):
                # `.<id>.<unique>`; an id may hold points itself.
                if recipe_ids is None or left.name.rpartition(".")[0].removeprefix(".") in recipe_ids:
                    shutil.rmtree(left, ignore_errors=True)

    def merge_seconds(self, recipe_id: str) -> float:
        """How long a recipe's merge took."""
        return _read_seconds(self.merges, recipe_id)

    def remove_merge(self, recipe_id: str) -> None:
        """Free the space that a merge takes; its seconds stay."""
        self.merges.remove(recipe_id)

    def is_scored(self, recipe_id: str) -> bool:
        """Whether a recipe's answers are all there."""
        return self.scores.location(recipe_id) is not None

    def finish_score(self, recipe_id: str, answers: list[Answer], rejects: list[Reject], seconds: float) -> None:
        """Put a recipe's answers away."""
        self.scores.put(_seconds(recipe_id), json.dumps(round(seconds, 3)).encode())
        with self.scores.storing(recipe_id) as folder:
            write_rows(folder / "answers.parquet", answers, Answer)
            write_rows(folder / "rejects.parquet", rejects, Reject)

    def scored(self, recipe_id: str) -> Scored:
        """A recipe's stored answers."""
        location = self.scores.location(recipe_id)
        assert location is not None  # the caller has asked `is_scored`
        folder = local_folder(location)
        return Scored(
            read_rows(folder / "answers.parquet", Answer),
            read_rows(folder / "rejects.parquet", Reject),
            _read_seconds(self.merges, recipe_id),
            _read_seconds(self.scores, recipe_id),
        )


def _seconds(recipe_id: str) -> str:
    return f"{recipe_id}.seconds.json"


def _read_seconds(place: Place, recipe_id: str) -> float:
    return float(json.loads(place.get(_seconds(recipe_id)) or b"0"))
