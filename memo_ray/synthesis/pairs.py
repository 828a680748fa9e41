"""Question-answer pairs on their way from a reply to a reflection, and why one is lost.

`Pair` carries everything that the tables `reflections` and `ledger` need; `Lost` becomes a row of `rejects`.
Both travel between processes as plain JSON.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from memo_ray.rows import Chunk, LedgerEntry, Reflection, Reject, content_id
from memo_ray.synthesis.cast import NOBODY, Cast

REASONS: dict[str, str] = {
    "unparsed": "the reply was not the JSON asked for, twice",
    "truncated": "the reply was cut at the token limit, twice",
    "engine": "the generator could not answer, or died twice on the chunk",
    "refused": "the model does not take the prompt: it is too long, or its chat template refuses it",
    "empty": "question or answer is empty, or nothing but marks",
    "identifier": "a document id, file name or tag stands in the text",
    "too_long": "the question or answer is longer than the step allows",
    "malformed": "the question is not a well-made question that names what it asks about",
    "ungrounded": "words or numbers that the source does not have",
    "round_trip": "the generator answers its own question differently",
    "not_self_contained": "cannot be understood without the source, also after rewriting",
    "unjudged": "the generator gave no verdict on it, twice",
    "names_entity": "the description names the entity that it should lead to",
    "not_merged": "does not use two of the pairs that it was to merge",
    "not_connected": "does not use facts of two chunks",
    "not_rephrased": "the rephrased question is too close to the original or lost a name",
    "duplicate": "asks what another pair asks in the same words",
    "near_duplicate": "nearly the same words as another pair",
    "script": "letters of a writing system that is not wanted",
    "language": "is in another language than the wanted ones",
    "over_cap": "more than max_reflections or max_questions",
}
"""Every reason for which something is lost, and what it means."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One question with its answer. `evidence`: the text it was made from; `parents`: ids of the pairs behind it.

    `kind`: which of its step's kinds it is, where the step has several.
    """

    question: str
    answer: str
    step: str
    evidence: str
    chunk_ids: tuple[str, ...]
    document_ids: tuple[str, ...]
    prompt_id: str
    seed: int
    parents: tuple[str, ...] = ()
    group_id: str = ""
    split: str = "train"
    kind: str = ""

    @property
    def reflection_id(self) -> str:
        """A hash of question and answer: the same pair has the same id wherever it comes from."""
        return content_id("reflection", self.question, self.answer)

    def reflection(self) -> Reflection:
        """The row that is trained on or held out; nothing in it says where the pair came from."""
        return Reflection(self.reflection_id, self.question, self.answer, self.step, self.split)

    def ledger_entry(self, model: str) -> LedgerEntry:
        """The row that says where the pair came from."""
        return LedgerEntry(
            self.reflection_id, self.step, list(self.chunk_ids), list(self.document_ids), self.group_id,
            list(self.parents), self.prompt_id, model, self.seed, self.kind,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `pair_from` reads back."""
        return asdict(self)


def pair_from(data: dict[str, Any]) -> Pair:
    """The inverse of `Pair.to_json`."""
    lists = {key: tuple(data[key]) for key in ("chunk_ids", "document_ids", "parents")}
    return Pair(**{**data, **lists})


@dataclass(frozen=True, slots=True)
class Lost:
    """A pair or a prompt that came to nothing. `reason` is one of REASONS; `reflection_id` is a lost pair's."""

    step: str
    reason: str
    detail: str
    prompt_id: str
    chunk_id: str = ""
    prompt: str = ""
    reply: str = ""
    reflection_id: str = ""

    def reject(self) -> Reject:
        """The row of the table `rejects`."""
        row_id = content_id("reject", self.step, self.prompt_id, self.reason, self.reply)
        return Reject(
            row_id, "synthesis", self.step, self.reason, self.detail, self.chunk_id, self.prompt, self.reply,
            self.reflection_id,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """Where a chunk's pairs come from: the chunk, the names that must not get into a pair, and who acts in the
    document."""

    chunk: Chunk
    identifiers: tuple[str, ...] = ()
    cast: Cast = NOBODY


def lost(pair: Pair, reason: str, detail: str) -> Lost:
    """`pair` as a loss, with what it said."""
    chunk_id = pair.chunk_ids[0] if pair.chunk_ids else ""
    told = f"Q: {pair.question}\nA: {pair.answer}"
    return Lost(pair.step, reason, detail, pair.prompt_id, chunk_id, reply=told, reflection_id=pair.reflection_id)


def tells(question: str, answer: str) -> bool:
    """Whether `question` holds the whole of `answer` in its words."""
    return bool(plain(answer)) and f" {plain(answer)} " in f" {plain(question)} "


def plain(text: str) -> str:
    """`text` in lower case without marks and doubled spaces, for comparing questions."""
    return " ".join(re.findall(r"\w+", text.lower()))
