"""The shape of POST /v1/answers: what the protocol found out, as plain JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from memo_ray.protocol.driver import Outcome
from memo_ray.protocol.state import Evidence, StageFacts

Support = Mapping[int, dict[str, Any]]
"""What the ledger has for the memory's answers, by number of evidence; see `citations.ledger.Support.body`."""


def answer_body(
    answer_id: str, question: str, outcome: Outcome, support: Support | None = None, memories: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The whole answer. `transcript`: JSON lines that `protocol.replay` takes. `seconds`: from question to answer.

    `degraded`: no executive synthesised the answer; it was picked from the evidence. `usage` is in tokens. `memories`:
    NAME@VERSION of the registered memories that it was put to.
    """
    support = support or {}
    return {
        "id": answer_id,
        "question": question,
        "answer": outcome.answer,
        "justification": outcome.justification,
        "citations": [citation(item, support.get(item.number)) for item in outcome.citations],
        "support": [
            {"number": number, "supported": found["supported"], "score": found["score"]}
            for number, found in sorted(support.items())
        ],
        "memories": list(memories),
        "entity": outcome.done.entity,
        "confirmed": outcome.done.confirmed,
        "degraded": outcome.done.degraded,
        "stop_reason": outcome.done.stop_reason,
        "stages": [stage(facts, outcome.seconds_by_stage.get(facts.stage, 0.0)) for facts in outcome.stages],
        "transcript": list(outcome.transcript),
        "usage": {model: tokens(model, outcome.stages) for model in ("executive", "memory")},
        "seconds": round(outcome.seconds, 3),
    }


def citation(item: Evidence, support: dict[str, Any] | None = None) -> dict[str, Any]:
    """A sub-question and the memory's answer that the answer rests on, and what the ledger has for it.

    `support` is null without a ledger. Of an answer that was retrieved, `passages` are its places in the documents.
    """
    places = [
        {"document_id": passage.document_id, "start": passage.start, "end": passage.end} for passage in item.passages
    ]
    return {
        "number": item.number,
        "stage": item.stage,
        "question": item.question,
        "answer": item.answer,
        "memory": item.memory,
        "note": item.note,
        "support": support,
        "passages": places,
    }


def stage(facts: StageFacts, seconds: float) -> dict[str, Any]:
    """What one stage did and how long it took."""
    return {**asdict(facts), "seconds": round(seconds, 3)}


def tokens(model: str, stages: tuple[StageFacts, ...]) -> dict[str, int]:
    """Tokens of one model over all stages."""
    return {
        kind: sum(getattr(facts, f"{model}_{kind}") for facts in stages) for kind in ("input_tokens", "output_tokens")
    }
