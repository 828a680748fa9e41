"""The protocol's data: its state, the events that go in and the effects that come out. All of it is immutable.

A transport turns replies of models into events, and carries out effects; `protocol.advance` does the rest. An
Ask is identified by `id`, which depends on stage, turn and position alone and is unique within one question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.models.chat import Message

StageName = Literal[
    "new", "grounding", "identification", "answering", "decision", "decomposition", "rounds", "synthesis", "done"
]
Target = Literal["executive", "memory", "retriever"]
StopReason = Literal["answered", "unparsed", "failed", "deadline"]
"""Why a question ended: synthesised; the synthesis is raw text; the synthesis failed; time was up."""


# Events


@dataclass(frozen=True, slots=True)
class Asked:
    """A user's question. The first event, and the only one of its kind.

    `entity`: the entity on which it turns, where that is known already: the three-stage protocol then skips
    Stage 2. `memo blame` finds out so whether the identification lost a question.
    """

    question: str
    entity: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said to Ask `id`, with the tokens it took. `memory`: which one, where a router chose it."""

    id: str
    text: str
    input_tokens: int = 0
    output_tokens: int = 0
    finish_reason: str = "stop"
    memory: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """Ask `id` got no reply, and will get none."""

    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document that a retriever found. `start`, `end`: character offsets in the document's text."""

    text: str
    document_id: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class Retrieved:
    """What the retriever found for Retrieve `id`, the best first; nothing when nothing fits."""

    id: str
    passages: tuple[Passage, ...] = ()


@dataclass(frozen=True, slots=True)
class Deadline:
    """Time is up: answer now, with what is known."""


Event = Asked | Reply | Failed | Retrieved | Deadline
Answered = Reply | Failed | Retrieved
"""The events that answer an Ask or a Retrieve."""


# Records


@dataclass(frozen=True, slots=True)
class SubQuestion:
    """A question for the memory. `about`: the candidate it is aimed at, or empty (Stage 2 only)."""

    question: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A sub-question and the memory's answer, numbered from 1 over the whole question in the order of ids.

    `unsure`: the answer counts as "I don't know". `note` says why it is not the memory's own word: "dead end"
    (not asked again), "failed: ..." (the memory could not answer) or "retrieved" (`passages` of the documents
    stand in for it); else it is empty. `memory`: which of several memories said it. `agreement`: how many of the
    wordings it was asked in got this answer, as in "2 of 3".
    """

    number: int
    id: str
    stage: StageName
    turn: int
    question: str
    answer: str
    unsure: bool
    note: str = ""
    memory: str = ""
    agreement: str = ""
    passages: tuple[Passage, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entity that the question may turn on; rank 1 is the likeliest. Clues are numbers of evidence."""

    name: str
    rank: int
    supporting: tuple[int, ...] = ()
    disqualifying: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Tally:
    """The uncertain-answer streak of a candidate (Table 15); `key` is its normalised name.

    `unsure`: Stage-2 questions aimed at it that came back as "I don't know". `confirmed`: a finding confirmed
    it. `lowest`: the rank it was moved down to, above which it cannot rise unconfirmed; 0 if it never was.
    """

    key: str
    unsure: int = 0
    confirmed: bool = False
    lowest: int = 0
    struck: bool = False


@dataclass(frozen=True, slots=True)
class Waiting:
    """An Ask or Retrieve without its reply, or a reply that waits for those of its turn.

    `place`: which of the turn's sub-questions, from 1; `wording`: the text that is put, when it is not the
    question's own; `memory`: which of several memories; `speaker`: the one that answered, where a router chose it.
    `put`: the effect has gone out. A dead end starts out answered. `passages`: what a retriever found.
    """

    id: str
    to: Target
    question: SubQuestion = SubQuestion("")
    answer: str | None = None
    note: str = ""
    place: int = 0
    wording: str = ""
    memory: str = ""
    speaker: str = ""
    put: bool = True
    passages: tuple[Passage, ...] = ()

    @property
    def open(self) -> bool:
        """Whether its effect has gone out and no event has answered it."""
        return self.put and self.answer is None


@dataclass(frozen=True, slots=True)
class StageFacts:
    """What a stage did. `turns`: interactions begun; `lost`: those whose executive reply was unusable.

    `asked`: sub-questions put to the memory; `unsure`: those that came back as "I don't know", dead ends not
    counted. `ended`: why the stage ended.
    """

    stage: StageName
    turns: int = 0
    lost: int = 0
    asked: int = 0
    unsure: int = 0
    executive_input_tokens: int = 0
    executive_output_tokens: int = 0
    memory_input_tokens: int = 0
    memory_output_tokens: int = 0
    ended: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """Everything the protocol knows about one question. Made by `protocol.start`, changed by `advance` only.

    `log` holds the lines of the prompt that are only ever appended to; `facts` and `candidates` are replaced
    by every reply that can be read. `labels`: the trust that Stage 3 placed in evidence, by number. `raw`: a
    final synthesis that could not be parsed. `closed`: ids that were cancelled. `needs_memory`: what the
    single-turn baseline decided. `sufficient`: the evidence was found to answer before Stage 3.
    """

    config: ProtocolConfig
    schema_enforced: bool
    question: str = ""
    stage: StageName = "new"
    turn: int = 0
    waiting: tuple[Waiting, ...] = ()
    closed: frozenset[str] = frozenset()
    log: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    facts: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    tallies: tuple[Tally, ...] = ()
    entity: str = ""
    confirmed: bool = False
    role: str = ""
    labels: tuple[tuple[int, str], ...] = ()
    raw: str = ""
    needs_memory: bool = True
    sufficient: bool = False
    stages: tuple[StageFacts, ...] = ()


# Effects


@dataclass(frozen=True, slots=True)
class Ask:
    """Put `messages` to a model and bring back Reply or Failed with the same id.

    `memory`: which of several memories is asked, `routing.ANY` when a router decides; empty where there is one.
    """

    id: str
    to: Target
    messages: tuple[Message, ...]
    temperature: float
    top_p: float
    max_tokens: int
    schema: dict[str, Any] | None = None
    memory: str = ""


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Look `query` up in the documents and bring back Retrieved or Failed with the same id. `count`: passages."""

    id: str
    query: str
    count: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """Ask or Retrieve `id` is no longer wanted. A reply that is already on its way is ignored."""

    id: str


@dataclass(frozen=True, slots=True)
class Emit:
    """Something to show while the question is worked on. `data` is plain JSON; docs/protocol.md lists the kinds."""

    kind: str
    stage: StageName
    turn: int
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """The end. `citations` are the memory's answers that support the answer, `evidence` all of them.

    `degraded`: no executive synthesised the answer; it was picked from the evidence. `stop_reason` "unparsed":
    the answer is the text of a synthesis that could not be parsed.
    """

    answer: str
    justification: str
    citations: tuple[Evidence, ...]
    evidence: tuple[Evidence, ...]
    entity: str
    confirmed: bool
    stop_reason: StopReason
    degraded: bool
    stages: tuple[StageFacts, ...]


Effect = Ask | Retrieve | Cancel | Emit | Done
Effects = tuple[Effect, ...]
