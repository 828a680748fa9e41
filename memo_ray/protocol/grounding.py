"""Stage 1, grounding: the executive takes the question apart into sub-questions, one a clue (paper, Section 4.4)."""

from __future__ import annotations

from typing import Any

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.protocol.prompts import fill
from memo_ray.protocol.stage import Stage, Turn, asking
from memo_ray.protocol.state import State, SubQuestion


def instructions(config: ProtocolConfig) -> str:
    return fill("grounding", common=fill("common"), asking=asking(config))


def situation(state: State) -> tuple[str, ...]:
    return ()


def take(state: State, value: dict[str, Any]) -> Turn:
    return Turn(state, tuple(SubQuestion(question) for question in value["questions"]))


GROUNDING = Stage("grounding", lambda config: config.grounding, instructions, situation, take)
