"""Stage 3, answer seeking: the executive asks what it needs to know about the entity, until that is enough.

It labels each answer, replaces known facts, and may turn to another listed candidate: the entity pivot, after
which the entity counts as unconfirmed (paper, Section 4.4 and Appendix J).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.protocol.candidates import known, name_of, pivot
from memo_ray.protocol.prompts import fill
from memo_ray.protocol.quoting import key, quote
from memo_ray.protocol.stage import Stage, Turn, asking, emit, fact_lines, facts_of
from memo_ray.protocol.state import Emit, State, SubQuestion


def instructions(config: ProtocolConfig) -> str:
    """The system message of the stage."""
    return fill("answering", common=fill("common"), asking=asking(config))


def entity_lines(state: State) -> tuple[str, ...]:
    """The entity, and whether it is one that was confirmed."""
    status = "confirmed" if state.confirmed else "best guess, not confirmed"
    return (f"Entity: {quote(state.entity)}", f"Status of the entity: {status}")


def situation(state: State) -> tuple[str, ...]:
    """The entity, the other candidates and the known facts, as lines of the state."""
    others = [quote(item.name) for item in state.candidates if key(item.name) != key(state.entity)]
    listing = (f"Other candidates: {'; '.join(others)}",) if others else ()
    return (*entity_lines(state), *listing, *fact_lines(state))


def take(state: State, value: dict[str, Any]) -> Turn:
    """What the stage makes of a reply: role, labels, facts, perhaps another entity, and what to ask."""
    numbers = {item.number for item in state.evidence}
    labels = {number: row["label"] for row in value["labels"] for number in known([row["evidence"]], numbers)}
    state = replace(
        state,
        role=value["role"],
        facts=facts_of(value["facts"]),
        labels=tuple(sorted({**dict(state.labels), **labels}.items())),
    )
    state, turned = turn_to(state, value["entity"])
    emits = (
        emit(state, "labels", role=state.role, labels=[{"evidence": n, "label": labels[n]} for n in sorted(labels)]),
        emit(state, "facts", facts=list(state.facts)),
        *turned,
    )
    if value["decision"] == "answer":
        return Turn(state, emits=emits, ended="sufficient")
    return Turn(state, tuple(SubQuestion(question) for question in value["questions"]), emits)


def turn_to(state: State, wanted: str) -> tuple[State, tuple[Emit, ...]]:
    """The entity pivot. A name that is not listed is refused, and the executive is told so."""
    name = name_of(wanted)
    if not name or key(name) == key(state.entity):
        return state, ()
    candidate = pivot(state.candidates, state.entity, name)
    if candidate is None:
        line = f"Not taken as the entity, because it is no listed candidate: {quote(name)}"
        return replace(state, log=(*state.log, line)), (emit(state, "refused", name=name, reason="not listed"),)
    line = f"The entity is now {quote(candidate.name)}, not {quote(state.entity)}."
    changed = replace(state, entity=candidate.name, confirmed=False, log=(*state.log, line))
    return changed, (emit(changed, "entity", name=candidate.name, confirmed=False, pivot_from=state.entity),)


ANSWERING = Stage("answering", lambda config: config.answering, instructions, situation, take)
