"""A memory that answers from the reflections themselves: what a memory that had learned them by heart would say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence

from memo_ray.corpus.bm25 import Bm25
from memo_ray.corpus.words import content, words
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.protocol.abstention import UNKNOWN
from memo_ray.rows import LedgerEntry, Reflection

NEAR = 0.6
"""From which likeness of two questions on the one's answer is taken for the other's."""

CANDIDATES = 20


class ReflectionMemory:
    """A ChatModel over reflections. It abstains when no reflection asks nearly the same."""

    name = "reflections"

    def __init__(self, reflections: Sequence[Reflection]) -> None:
        self._rows = [row for row in reflections if row.split == "train"]
        self._index = Bm25([f"{row.question} {row.answer}" for row in self._rows])

    def answer(self, question: str) -> str:
        """The answer of the reflection whose question is nearest; "I don't know" when none is near.

        The likeness is the smaller of two shares by rarity of words: of the question in the reflection, and of the
        reflection's question in the question.
        """
        asked = content(question)
        likeness = {
            row: min(
                self._index.coverage(asked, set(words(f"{self._rows[row].question} {self._rows[row].answer}"))),
                self._index.coverage(content(self._rows[row].question), set(words(question))),
            )
            for row, _ in self._index.top(question, CANDIDATES)
        }
        best = max(likeness, key=lambda row: likeness[row], default=None)
        return UNKNOWN if best is None or likeness[best] < NEAR else self._rows[best].answer

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The answer to the last message."""
        return ChatReply(self.answer(request.messages[-1]["content"]), "stop", 0, 0)

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The same in one piece."""
        reply = await self.chat(request)
        yield reply.text
        yield reply

    async def close(self) -> None:
        """Nothing is held."""


def of_documents(
    reflections: Sequence[Reflection], entries: Sequence[LedgerEntry], document_ids: Collection[str]
) -> list[Reflection]:
    """The reflections made from these documents, among others; all of them when no document is named."""
    if not document_ids:
        return list(reflections)
    wanted = {entry.reflection_id for entry in entries if set(entry.document_ids) & set(document_ids)}
    return [row for row in reflections if row.reflection_id in wanted]


def states(reflections: Sequence[Reflection], answers: Sequence[str]) -> bool:
    """Whether a trained reflection's answer holds all words of one of the right `answers`."""
    wanted = [content(answer) for answer in answers if content(answer)]
    return any(right <= set(words(row.answer)) for row in reflections if row.split == "train" for right in wanted)
