"""Which step lost a wrong answer: the first at which what is right was not there any more.

Told from what is kept of the answer, without asking a model: by the evidence that was shown, or by what the memory said
in the transcript. `memo blame` asks again with one thing put right at a time, which costs more and proves more.
"""

from __future__ import annotations

from memo_ray.errors import ProtocolError
from memo_ray.evaluation.metrics import score
from memo_ray.evaluation.systems.reading import was_cut
from memo_ray.evaluation.systems.system import Query, Said
from memo_ray.protocol.protocol import replay

LOST = {
    "knowledge": "nothing was put before the model, and it does not know",
    "retrieval": "not all of the evidence was found",
    "context": "evidence was cut or left out, since it did not fit",
    "reading": "all of the evidence was shown, and the answer is not what it says",
    "decision": "the executive chose not to ask the memory",
    "grounding": "no question reached the memory",
    "identification": "what the memory said does not hold the answer, and no entity was found to ask about",
    "answering": "what the memory said does not hold the answer",
    "synthesis": "the memory said it, the final answer does not",
    "time": "time was up before the answer was put together",
    "unknown": "the question's evidence is not named",
}
"""Each step, and what it means that it lost an answer; those of the protocol in its order."""


def lost_at(query: Query, said: Said, searches: bool = False) -> str:
    """The step of `LOST` for an answer that is wrong. `searches`: whether its system looks for text to answer from."""
    if said.transcript:
        return lost_in_protocol(query, said.transcript)
    if not said.retrieved:
        return "retrieval" if searches else "knowledge"
    if not query.evidence:
        return "unknown"
    if said.note.startswith("cut to "):
        return "context"
    if set(query.evidence) <= set(said.retrieved):
        return "reading"
    return "context" if was_cut(said.note) else "retrieval"


def lost_in_protocol(query: Query, transcript: list[str]) -> str:
    """The same for an answer through the protocol; a transcript that cannot be replayed tells nothing."""
    try:
        done = replay(transcript)
    except ProtocolError:
        return "unknown"
    if any(score(row.answer, query.references).recalled for row in done.evidence):
        return "time" if done.stop_reason == "deadline" else "synthesis"
    if done.stop_reason == "deadline":
        return "time"
    names = {row.stage for row in done.stages}
    if not any(row.asked for row in done.stages):
        return "decision" if "decision" in names else "grounding"
    return "identification" if "identification" in names and not done.entity else "answering"
