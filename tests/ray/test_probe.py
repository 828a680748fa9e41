"""The adviser's probe on tiny models: real merges under Ray Tune; a stand-in answers in the engine's place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from memo_ray.artifacts.place import Location, local_folder, open_place
from memo_ray.evaluation.asked import Asked
from memo_ray.merging.checks import check
from memo_ray.merging.ray_probe import probe
from memo_ray.merging.scores import SweepProgress
from memo_ray.models.chat import ChatReply, ChatRequest
from tests.unit.merging.tiny import make_base, make_memories, read

pytestmark = pytest.mark.usefixtures("ray_cluster")

QUESTIONS = {
    corpus: [Asked(f"{corpus}-{n}", "held_out", f"Who is {corpus}{n}?", [f"Person{n}"]) for n in range(3)]
    for corpus in ("north", "south")
}
ROUTED = {"north": 1.0, "south": 0.5}


class Knows:
    """An engine that answers by what it has loaded: its memory all of a corpus's questions, a merge the first alone."""

    def __init__(self, memories: dict[str, Path]) -> None:
        self._memories = {str(path): corpus for corpus, path in memories.items()}
        self._loaded = ""

    def reload(self, model: Location) -> None:
        assert read(local_folder(model))["model.norm.weight"].shape == (32,)
        self._loaded = str(model)

    def chat(self, requests: Sequence[ChatRequest]) -> list[ChatReply]:
        return [ChatReply(self._says(request.messages[0]["content"]), "stop", 9, 2) for request in requests]

    def _says(self, question: str) -> str:
        number = question.removesuffix("?")[-1]
        corpus = self._memories.get(self._loaded)
        right = corpus in question if corpus else number == "0"
        return f"Person{number}" if right else "no idea"


def test_memories_are_asked_their_own_and_merges_everything(tiny_model: Path, tmp_path: Path) -> None:
    base = make_base(tiny_model, tmp_path / "base")
    a, b = make_memories(base, tmp_path, 2).values()
    memories = {"north": a, "south": b}
    merges = SweepProgress(open_place(tmp_path / "progress"), "probe")
    told: list[str] = []
    found = probe(
        base, memories, check(base, memories), QUESTIONS, ROUTED, Knows(memories), 8, merges,  # type: ignore[arg-type]
        lambda done, total, what: told.append(what),
    )  # fmt: skip
    north, south = found.probes
    assert (north.asked, north.own, north.routed, south.routed) == (3, 3, 1.0, 0.5)
    assert north.merged == north.kept == {"linear": 1, "task-arithmetic-s1": 1}
    assert found.merge_seconds > 0
    assert [row.system for row in found.answers].count("linear") == 6, "both corpora's questions"
    assert [row.system for row in found.answers].count("memory-south") == 3, "its own alone"
    assert told == [f"probing {name}" for name in ("memory-north", "memory-south", "linear", "task-arithmetic-s1")]
    assert merges.merged("linear") is None, "the weights are gone"
