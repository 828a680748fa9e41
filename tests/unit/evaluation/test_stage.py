"""The evaluation goes on where an earlier try stopped, and after an engine's death; no engine for what is there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import pytest

from memo_ray.artifacts.place import open_place
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.run import RunConfig
from memo_ray.errors import EngineDied
from memo_ray.evaluation import alone
from memo_ray.evaluation.alone import ask_systems, put_away_answers
from memo_ray.evaluation.asked import Asked
from memo_ray.evaluation.ray_evaluation import Asking, answer_row, reject_row
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.progress import unheard

ASKED = [Asked("q1", "one_hop", "Who?", ["Ada"]), Asked("q2", "one_hop", "Where?", ["here"])]


def test_answers_of_an_earlier_try_are_not_asked_again(tmp_path: Path) -> None:
    answers = {name: answer_row(ASKED[0], name, ChatReply("Ada", "stop", 3, 1), 0.1) for name in ("base", "a/epoch-1")}
    rejects = {name: reject_row(ASKED[1], name, ValueError("too long")) for name in answers}
    kept = open_place(tmp_path / "alone")
    for name in answers:
        put_away_answers(kept, name, Asking([answers[name]], [rejects[name]]))
    config = RunConfig(name="x", corpora=(CorpusConfig(name="c", paths=("d",)),))
    found = ask_systems(config, tmp_path, dict.fromkeys(answers, tmp_path), ASKED, kept, unheard)
    assert found.answers == list(answers.values())
    assert found.rejects == list(rejects.values())
    assert found.engine_starts == 0


class Dying:
    """An engine that dies when it is to load the second system, as often as `deaths` says."""

    deaths = 0
    asked: list[str] = []

    @classmethod
    def start(cls, config: object, base: Path) -> Self:
        return cls()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def reload(self, folder: Path) -> None:
        if folder.name == "second" and Dying.deaths:
            Dying.deaths -= 1
            raise EngineDied("its machine is gone")
        Dying.asked.append(folder.name)

    def chat(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        return [ChatReply("Ada", "stop", 3, 1) for _ in requests]


@pytest.mark.parametrize("deaths", [2, 3])
def test_a_lost_engine_is_replaced_and_asks_what_is_left(
    deaths: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alone, "Engine", Dying)
    monkeypatch.setattr(Dying, "deaths", deaths)
    monkeypatch.setattr(Dying, "asked", [])
    config = RunConfig(name="x", corpora=(CorpusConfig(name="c", paths=("d",)),))
    systems = {name: tmp_path / name for name in ("first", "second")}
    kept = open_place(tmp_path / "alone")
    if deaths == 3:
        with pytest.raises(EngineDied, match="its machine is gone"):
            ask_systems(config, tmp_path, systems, ASKED, kept, unheard)
        assert Dying.asked == ["first"]
        return
    found = ask_systems(config, tmp_path, systems, ASKED, kept, unheard)
    assert [(row.system, row.question_id) for row in found.answers] == [
        (name, row.question_id) for name in systems for row in ASKED
    ]
    assert Dying.asked == ["first", "second"], "what is answered is not asked again"
    assert found.engine_starts == 3
