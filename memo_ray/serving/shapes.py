"""What the gateway's own endpoints send, as models: source of the OpenAPI schema, and what tests hold replies to."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Shape(BaseModel):
    """Every field that there is is named here."""

    model_config = ConfigDict(extra="forbid")


class Place(Shape):
    """A stretch of a document. `start`, `end`: character offsets in its text."""

    document_id: str
    chunk_id: str | None = None
    start: int
    end: int


class Match(Shape):
    """A trained reflection that states what the memory said. `score`: 0 to 1."""

    reflection_id: str
    question: str
    answer: str
    score: float
    places: list[Place]


class Support(Shape):
    """What the ledger has for one answer of the memory; `note` says so when it is nothing."""

    supported: bool
    score: float
    reflections: list[Match]
    note: str | None = None


class Citation(Shape):
    """A sub-question and the memory's answer that the answer rests on."""

    number: int
    stage: str
    question: str
    answer: str
    memory: str
    note: str
    support: Support | None
    passages: list[Place]


class Verdict(Shape):
    """Whether the ledger supports an answer of the memory, by its number."""

    number: int
    supported: bool
    score: float


class Stage(Shape):
    """What one stage did: turns, sub-questions, tokens, seconds."""

    stage: str
    turns: int
    lost: int
    asked: int
    unsure: int
    executive_input_tokens: int
    executive_output_tokens: int
    memory_input_tokens: int
    memory_output_tokens: int
    ended: str
    seconds: float


class Tokens(Shape):
    """Tokens of one model."""

    input_tokens: int
    output_tokens: int


class Usage(Shape):
    """Tokens of both models."""

    executive: Tokens
    memory: Tokens


class Answer(Shape):
    """The answer with all that led to it. `transcript`: its event log, as JSON lines."""

    id: str
    question: str
    answer: str
    justification: str
    citations: list[Citation]
    support: list[Verdict]
    memories: list[str]
    entity: str
    confirmed: bool
    degraded: bool
    stop_reason: Literal["answered", "unparsed", "failed", "deadline"]
    stages: list[Stage]
    transcript: list[str]
    usage: Usage
    seconds: float


class Listing(Shape):
    """A page of a list: rows from `offset` on, of `total`."""

    object: Literal["list"]
    total: int
    offset: int


class DocumentRow(Shape):
    """A document. `recall`: the share of `asked` trained reflections that the memory answers rightly, if known."""

    document_id: str
    title: str
    characters: int
    chunks: int
    reflections: int
    recall: float | None
    asked: int


class Documents(Listing):
    """A page of documents."""

    data: list[DocumentRow]


class ReflectionRow(Shape):
    """A question-answer pair that a document had a part in. `recalled`: whether the memory answers it rightly."""

    reflection_id: str
    question: str
    answer: str
    step: str
    split: Literal["train", "held_out"]
    recalled: bool | None
    places: list[Place]


class Reflections(Listing):
    """A page of reflections."""

    data: list[ReflectionRow]


class Span(Shape):
    """`text` is the document's text from `start` to `end`; `before` and `after` are what stands around it."""

    document_id: str
    title: str
    characters: int
    start: int
    end: int
    before: str
    text: str
    after: str


class ErrorBody(Shape):
    """What went wrong, as OpenAI's clients parse it."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(Shape):
    """Every failure."""

    error: ErrorBody


class ModelCard(Shape):
    """A model that may be asked."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class Models(Shape):
    """The models that the key may ask."""

    object: Literal["list"]
    data: list[ModelCard]
