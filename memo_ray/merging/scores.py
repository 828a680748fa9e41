"""What a sweep has done so far, and which of its merges are best.

In go the answers of merged memories; out come their recall on held-out reflections by corpus and a ranking. Each
recipe's merge and score is put into the sweep's progress folder as soon as it is done, so a killed sweep goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    """The progress folder: `merges/<id>` (weights), `merges/<id>.json` (seconds), `scores/<id>/` (answers).

    `asked` identifies the questions; scores of other questions are not reused.
    """

    def __init__(self, folder: Path, asked: str) -> None:
        self.merges = folder / "merges"
        self.scores = folder / "scores" / asked
        self.tune = folder / "tune"
        for path in (self.merges, self.scores):
            path.mkdir(parents=True, exist_ok=True)

    def merged(self, recipe_id: str) -> Path | None:
        """The finished merge of a recipe, unless it was removed again."""
        folder = self.merges / recipe_id
        return folder if folder.is_dir() and self._seconds_file(recipe_id).is_file() else None

    def finish_merge(self, recipe_id: str, folder: Path, seconds: float) -> None:
        """Take over a merged `folder`; its seconds come first, so a merge without them is no finished one."""
        target = self.merges / recipe_id
        shutil.rmtree(target, ignore_errors=True)
        _write_json(self._seconds_file(recipe_id), {"merge_seconds": round(seconds, 3)})
        folder.rename(target)

    def remove_merge(self, recipe_id: str) -> None:
        """Free the disk that a merge takes; its seconds stay."""
        shutil.rmtree(self.merges / recipe_id, ignore_errors=True)

    def merge_seconds(self, recipe_id: str) -> float:
        """How long a merge took."""
        return float(json.loads(self._seconds_file(recipe_id).read_bytes())["merge_seconds"])

    def is_scored(self, recipe_id: str) -> bool:
        """Whether a recipe's answers are all there."""
        return (self.scores / recipe_id / "score.json").is_file()

    def finish_score(self, recipe_id: str, answers: list[Answer], rejects: list[Reject], seconds: float) -> None:
        """Put a recipe's answers away; the file that makes them count is written last."""
        folder = self.scores / recipe_id
        write_rows(folder / "answers.parquet", answers, Answer)
        write_rows(folder / "rejects.parquet", rejects, Reject)
        _write_json(folder / "score.json", {"score_seconds": round(seconds, 3)})

    def scored(self, recipe_id: str) -> Scored:
        """A recipe's stored answers."""
        folder = self.scores / recipe_id
        return Scored(
            read_rows(folder / "answers.parquet", Answer),
            read_rows(folder / "rejects.parquet", Reject),
            self.merge_seconds(recipe_id),
            float(json.loads((folder / "score.json").read_bytes())["score_seconds"]),
        )

    def _seconds_file(self, recipe_id: str) -> Path:
        return self.merges / f"{recipe_id}.json"


def _write_json(path: Path, content: Any) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(json.dumps(content))
    temporary.replace(path)
