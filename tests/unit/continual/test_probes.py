from pathlib import Path

import pytest

from memo_ray.continual.dropping import drop
from memo_ray.continual.probes import at_base_level, kept_share, probes_of, recall, recall_by_group
from memo_ray.evaluation.asked import Asked
from memo_ray.rows import Answer
from memo_ray.workspace import Workspace


def answer(row: Asked, recalled: bool) -> Answer:
    return Answer(row.question_id, "memory", row.kind, row.question, row.references, "", recalled, 0, False, 0, 0, 0)


def test_questions_fall_into_four_groups(run: Workspace, tmp_path: Path) -> None:
    corpus, synthesis = run.finished("corpus-law"), run.finished("synthesis-law")
    assert corpus is not None and synthesis is not None
    dropped = drop("bell", corpus, synthesis)
    probes = probes_of("bell", dropped, corpus, [(corpus, synthesis)], 100)
    names = {group: {row.question_id for row in rows} for group, rows in probes.items()}
    assert names["own"] == {"bell", "bell-again", "q1"}
    assert names["shared"] == {"both", "child", "orphan", "q3"}
    assert names["rest"] == {"salt", "salt-2", "salt-again", "q2"}
    assert len(names["others"]) == 11
    few = probes_of("bell", dropped, corpus, [], 2)
    assert {group: len(rows) for group, rows in few.items()} == {"own": 2, "shared": 2, "rest": 2, "others": 0}


def test_recall_is_counted_over_what_was_asked() -> None:
    rows = [Asked(f"q{n}", "trained", "?", ["a"]) for n in range(4)]
    answers = [answer(rows[0], True), answer(rows[1], True), answer(rows[2], False)]
    found = recall_by_group(answers, {"own": rows, "rest": rows[:2], "others": []})
    assert [found[group]["recall"] for group in ("own", "rest", "others")] == [0.5, 1.0, None]


def test_the_interval_is_wilsons() -> None:
    # Newcombe (1998), Table I, method 3: 81 of 263 is 0.2553 to 0.3662; 0 of 20 is 0 to 0.1611.
    found = recall(81, 263)
    assert (found["low"], found["high"]) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert (recall(0, 20)["low"], recall(0, 20)["high"]) == pytest.approx((0, 0.1611), abs=1e-4)


@pytest.mark.parametrize(
    ("base", "after", "n", "level"),
    [
        (0, 0, 20, True), (0, 1, 20, True), (3, 2, 10, True), (0, 3, 60, True),
        (0, 2, 5, None), (0, 0, 5, None), (0, 3, 20, None), (5, 7, 20, None), (0, 0, 0, None),
        (0, 4, 10, False), (0, 9, 20, False), (0, 5, 5, False), (10, 20, 60, False),
    ],
)  # fmt: skip
def test_the_level_is_the_bases_above_it_or_cannot_be_told(base: int, after: int, n: int, level: bool | None) -> None:
    assert at_base_level(recall(base, n), recall(after, n)) is level


def test_what_is_kept_is_a_share_of_what_was_recalled() -> None:
    assert kept_share(recall(50, 60), recall(49, 60)) == 0.98
    assert kept_share(recall(0, 60), recall(0, 60)) is None
