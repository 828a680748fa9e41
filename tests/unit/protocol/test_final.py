from __future__ import annotations

import dataclasses

import pytest

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.protocol.final import fallback
from memo_ray.protocol.state import Candidate, Evidence, StageFacts, State


def state_with(*answers, **changes):
    """A state whose evidence is (stage, answer) in order; an answer of None is "I don't know"."""
    evidence = tuple(
        Evidence(number, f"{number}", stage, 1, "q?", answer or "I don't know", answer is None)
        for number, (stage, answer) in enumerate(answers, 1)
    )
    state = State(ProtocolConfig(), False, "q?", evidence=evidence, stages=(StageFacts("synthesis"),))
    return dataclasses.replace(state, **changes)


SEARCH = [
    ("grounding", "Odo"),
    ("answering", "1790"),
    ("answering", "1800"),
    ("answering", "In 1800."),
    ("answering", "1790."),
]

ILSE = {"entity": "Ilse", "candidates": (Candidate("Ilse", 2), Candidate("Per", 1))}


@pytest.mark.parametrize(
    ("state", "answer", "cited"),
    [
        (state_with(*SEARCH, **ILSE), "1790", [2, 5]),
        (state_with(*SEARCH, **ILSE, labels=((2, "contradiction"),)), "1800", [3]),
        (state_with(*SEARCH, **ILSE, labels=tuple((n, "non-responsive") for n in (2, 3, 4, 5))), "Ilse", []),
        (state_with(("answering", None), **ILSE), "Ilse", []),
        (state_with(("grounding", "Odo"), candidates=(Candidate("A", 2), Candidate("B", 1, (1,)))), "B", [1]),
        (state_with(("grounding", "Odo"), ("identification", "Per"), ("identification", "per")), "Per", [2, 3]),
        (state_with(("grounding", None)), "I don't know", []),
        (state_with(), "I don't know", []),
    ],
)
def test_the_best_answer_without_a_synthesis(state, answer, cited):
    done = fallback(state, "failed")
    assert (done.answer, [item.number for item in done.citations]) == (answer, cited)
    assert done.degraded
    assert done.justification.endswith("no final synthesis was made.")
