"""A question that has been answered, asked again: the memory's answers come from its transcript.

The same sub-question gets the answer that it got then. One that was not asked then goes to a live memory, where
there is one; else it fails, which the protocol counts as "I don't know" and shows with the reason.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping

from memo_ray.errors import GenerationError
from memo_ray.models.chat import ChatModel, ChatReply, ChatRequest
from memo_ray.protocol.protocol import trace
from memo_ray.protocol.quoting import key
from memo_ray.protocol.routing import ANY
from memo_ray.protocol.state import Ask, Reply
from memo_ray.protocol.transcript import read_transcript

Said = Mapping[str, Reply]
"""Replies by what was asked, normalised."""


def memory_replies(lines: Iterable[str]) -> dict[str, dict[str, Reply]]:
    """What each memory ("" where there is one, or where a router chose) said in a transcript, by the wording it was
    asked in; of a question put twice the last reply. Raises ProtocolError for a transcript that cannot be read."""
    lines = list(lines)
    _, _, events = read_transcript(lines)
    replies = {event.id: event for event in events if isinstance(event, Reply)}
    said: dict[str, dict[str, Reply]] = {}
    for effects in trace(lines):
        for effect in effects:
            if isinstance(effect, Ask) and effect.to == "memory" and effect.id in replies:
                name = "" if effect.memory == ANY else effect.memory
                said.setdefault(name, {})[key(effect.messages[-1]["content"])] = replies[effect.id]
    return said


class RecordedMemory:
    """A ChatModel that says what a memory said in a transcript. `live`: who answers what it was not asked then."""

    name = "recorded memory"

    def __init__(self, said: Said, live: ChatModel | None = None) -> None:
        self._said = said
        self._live = live
        self.unrecorded: list[str] = []

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The recorded reply. Raises GenerationError for a question that was not asked then and has nobody to go to."""
        asked = request.messages[-1]["content"]
        if (reply := self._said.get(key(asked))) is not None:
            return ChatReply(reply.text, reply.finish_reason, reply.input_tokens, reply.output_tokens)
        self.unrecorded.append(asked)
        if self._live is None:
            raise GenerationError("this was not asked in the transcript; name a memory that can be asked")
        return await self._live.chat(request)

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The same in one piece."""
        reply = await self.chat(request)
        yield reply.text
        yield reply

    async def close(self) -> None:
        """Nothing is held."""
