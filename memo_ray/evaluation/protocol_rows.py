"""A question answered through the protocol, as the gateway returns it, to the evaluation's rows."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from memo_ray.errors import ProtocolError
from memo_ray.evaluation.asked import Asked
from memo_ray.evaluation.metrics import score
from memo_ray.protocol.protocol import trace
from memo_ray.protocol.state import Ask, Reply
from memo_ray.protocol.transcript import read_transcript
from memo_ray.rows import Answer, Transcript

SYSTEM = "memo"
"""The name under which the protocol's answers stand beside those of models asked alone."""


def protocol_rows(asked: Asked, reply: Mapping[str, Any], seconds: float) -> tuple[Answer, Transcript]:
    """The rows of one reply of `/v1/answers` that took `seconds`; the question keeps its kind.

    Only `answer`, `justification` and `transcript` (JSON lines, or their objects) are read. Tokens are those of
    executive and memory together, counted from the transcript. Raises ProtocolError for a reply without an
    answer or with a transcript that cannot be read.
    """
    answer, lines = reply.get("answer"), reply.get("transcript")
    if not isinstance(answer, str) or not isinstance(lines, list):
        raise ProtocolError(f"question {asked.question_id}: the gateway's reply holds no answer and transcript")
    events = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    replies = [event for event in read_transcript(events)[2] if isinstance(event, Reply)]
    scores = score(answer, asked.references)
    row = Answer(
        question_id=asked.question_id,
        system=SYSTEM,
        kind=asked.kind,
        question=asked.question,
        references=asked.references,
        answer=answer,
        recalled=scores.recalled,
        token_f1=scores.token_f1,
        exact_match=scores.exact_match,
        seconds=round(seconds, 6),
        input_tokens=sum(event.input_tokens for event in replies),
        output_tokens=sum(event.output_tokens for event in replies),
    )
    justification = str(reply.get("justification") or "")
    transcript = Transcript(asked.question_id, SYSTEM, asked.question, answer, justification, "\n".join(events))
    return row, transcript


def executive_tokens(transcripts: Iterable[Transcript]) -> dict[str, int]:
    """`executive_input_tokens` and `executive_output_tokens` of all transcripts: what an endpoint is paid for."""
    total = Counter(executive_input_tokens=0, executive_output_tokens=0)
    for transcript in transcripts:
        lines = transcript.events.splitlines()
        asked = {
            effect.id
            for effects in trace(lines)
            for effect in effects
            if isinstance(effect, Ask) and effect.to == "executive"
        }
        for event in read_transcript(lines)[2]:
            if isinstance(event, Reply) and event.id in asked:
                total.update(executive_input_tokens=event.input_tokens, executive_output_tokens=event.output_tokens)
    return dict(total)
