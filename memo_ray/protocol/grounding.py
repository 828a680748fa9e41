"""Stage 1, grounding: the executive takes the question apart into sub-questions, one a clue (paper, Section 4.4)."""

from __future__ import annotations

from typing import Any

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.protocol.prompts import fill
from memo_ray.protocol.stage import Stage, Turn, asking
from memo_ray.protocol.state import State, SubQuestion


def instructions(config: ProtocolConfig) -> str:
    """The system message of the stage."""
    return fill("grounding", common=fill("common"), asking=asking(config))


def situation(state: State) -> tuple[str, ...]:
    """Nothing: the stage has a question and no state."""
    return ()


def take(state: State, value: dict[str, Any]) -> Turn:
    """The sub-questions of a reply."""
    return Turn(state, tuple(SubQuestion(question) for question in value["questions"]))


GROUNDING = Stage("grounding", lambda config: config.grounding, instructions, situation, take)
