"""Asks models alone: every question as one bare user message at temperature 0, on one engine.

Model folders and questions go in, scored rows come out. The engine is started once; for each system its
weights are reloaded in place.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from memo_ray.artifacts.place import Location
from memo_ray.errors import EngineDied, GenerationError
from memo_ray.evaluation.asked import FOREIGN, Asked
from memo_ray.evaluation.metrics import Scores, abstains, score
from memo_ray.evaluation.recall import choose_epoch, recall_table
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.models.ray_engine import Engine
from memo_ray.rows import Answer, Reject

__all__ = ["Asking", "answer_row", "ask_alone", "choose_epoch", "recall_table", "reject_row"]

QUESTIONS_AT_ONCE = 256
"""Questions handed to the engine together; more than any engine works on at once, few enough to show progress."""


@dataclass(frozen=True)
class Asking:
    """What came back: an Answer for every question that a system could be asked, a Reject for every other."""

    answers: list[Answer] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)


def ask_alone(
    engine: Engine,
    systems: Mapping[str, Location],
    questions: Sequence[Asked],
    max_tokens: int,
    on_progress: Callable[[str, int, int], None] | None = None,
    loaded: Location | None = None,
) -> Asking:
    """Ask every system (name → model folder) every question, systems in order.

    `loaded`: the folder whose weights the engine holds already, which are then not loaded again. `on_progress`
    is called with the system's name, how many of its questions are answered, and how many there are.
    `Answer.seconds` is wall time by number of questions, since they are answered side by side. A prompt that
    the model refuses becomes a Reject; raises EngineDied when the engine is gone.
    """
    asking = Asking()
    for system, folder in systems.items():
        if folder != loaded:
            engine.reload(folder)
            loaded = folder
        for start in range(0, len(questions), QUESTIONS_AT_ONCE):
            batch = questions[start : start + QUESTIONS_AT_ONCE]
            clock = time.perf_counter()
            replies = list(_replies(engine, [_request(row, max_tokens) for row in batch]))
            seconds = (time.perf_counter() - clock) / len(batch)
            for asked, reply in zip(batch, replies, strict=True):
                if isinstance(reply, ChatReply):
                    asking.answers.append(answer_row(asked, system, reply, seconds))
                else:
                    asking.rejects.append(reject_row(asked, system, reply))
            if on_progress:
                on_progress(system, start + len(batch), len(questions))
    return asking


def answer_row(asked: Asked, system: str, reply: ChatReply, seconds: float) -> Answer:
    """The scored row of one reply. To a foreign question the right answer is that it is not known, in any words."""
    foreign, abstained = asked.kind == FOREIGN, abstains(reply.text)
    scores = Scores(abstained, float(abstained), abstained) if foreign else score(reply.text, asked.references)
    return Answer(
        question_id=asked.question_id,
        system=system,
        kind=asked.kind,
        question=asked.question,
        references=asked.references,
        answer=reply.text,
        recalled=scores.recalled,
        token_f1=scores.token_f1,
        exact_match=scores.exact_match,
        seconds=round(seconds, 6),
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
    )


def reject_row(asked: Asked, system: str, error: Exception) -> Reject:
    """A question that `system` could not be asked: neither right nor wrong, and counted as such."""
    return Reject(
        row_id=asked.question_id,
        stage="evaluation",
        step=f"{system}/{asked.kind}",
        reason="generation_error",
        # Ray wraps the engine's exception and puts the remote traceback before its message.
        detail=str(getattr(error, "cause", error)),
        prompt=asked.question,
    )


def _request(asked: Asked, max_tokens: int) -> ChatRequest:
    return ChatRequest(
        request_id=asked.question_id,
        messages=({"role": "user", "content": asked.question},),
        temperature=0.0,
        max_tokens=max_tokens,
    )


def _replies(engine: Engine, requests: list[ChatRequest]) -> Iterator[ChatReply | GenerationError]:
    """A reply or its error for each request. The engine raises the first error of a batch, so halve until alone."""
    try:
        yield from engine.chat(requests)
    except EngineDied:
        raise
    except GenerationError as error:
        if len(requests) == 1:
            yield error
            return
        half = len(requests) // 2
        yield from _replies(engine, requests[:half])
        yield from _replies(engine, requests[half:])
