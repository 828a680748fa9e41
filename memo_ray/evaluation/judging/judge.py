"""An LLM as the judge of answers, in the manner of G-Eval: a criterion, steps, a binary score with its reason.

The paper judges with DeepEval's GEval, strict and at temperature 0. This is the same procedure over a ChatModel,
with what the paper's lacks: a judge that fails is asked again and then reported, never counted as a wrong answer.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template

from memo_ray.config.judging import JudgeConfig
from memo_ray.errors import GenerationError
from memo_ray.models.chat import ChatModel, ChatReply, ChatRequest, Message
from memo_ray.models.limits import within
from memo_ray.models.replies import parse_json
from memo_ray.protocol.quoting import printable, quote

PROMPT = Path(__file__).parent / "prompts" / "judge.md"
SCHEMA = {
    "type": "object",
    "properties": {"reason": {"type": "string"}, "score": {"type": "integer", "enum": [0, 1]}},
    "required": ["reason", "score"],
    "additionalProperties": False,
}
LONGEST_ANSWER = 8_000
"""Characters of an answer that the judge is shown; an answer that has not made its point by then has none."""
SHOWN_REPLY = 1_000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge said. `right` None: it could not be had, and `reason` says why."""

    right: bool | None
    reason: str
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


class Judge:
    """Judges answers over one ChatModel. The same answer to the same question is judged once.

    `replies`: how many the model has given so far, verdicts or not, with the tokens of all; 0 after a verdict that
    could not be had is an outage.
    """

    def __init__(self, model: ChatModel, config: JudgeConfig) -> None:
        self.name = model.name
        self.replies = self.input_tokens = self.output_tokens = 0
        # Thousands of answers come at once. Those that wait for their turn wait here: only what is under way stalls.
        self._places = asyncio.Semaphore(config.model.concurrency)
        self._model = model
        self._config = config
        self._known: dict[str, asyncio.Task[Verdict]] = {}

    async def verdict(self, question: str, references: Sequence[str], answer: str) -> Verdict:
        """Whether `answer` is right; any of `references` is. An empty answer is wrong without asking."""
        if not answer.strip():
            return Verdict(False, "the answer is empty")
        prompt = prompt_of(question, references, answer)
        key = hashlib.sha256(prompt.encode()).hexdigest()
        first = key not in self._known
        if first:
            self._known[key] = asyncio.create_task(self._ask(key[:16], prompt))
        verdict = await asyncio.shield(self._known[key])
        return verdict if first else Verdict(verdict.right, verdict.reason)

    async def close(self) -> None:
        """End verdicts that nobody waits for any more, and close the model."""
        for task in self._known.values():
            task.cancel()
        await asyncio.gather(*self._known.values(), return_exceptions=True)
        await self._model.close()

    async def _ask(self, request_id: str, prompt: str) -> Verdict:
        messages: tuple[Message, ...] = ({"role": "user", "content": prompt},)
        problem, calls, read, written = "", 0, 0, 0
        for attempt in range(self._config.attempts):
            calls += 1
            try:
                reply = await self._reply(f"judge-{request_id}-{attempt}", messages)
            except GenerationError as error:
                problem = str(error)
                continue
            read, written = read + reply.input_tokens, written + reply.output_tokens
            try:
                value = parse_json(reply.text, SCHEMA)
            except GenerationError as error:
                problem = f"judge: {error}"
                messages = (messages[0], *repair(reply.text, str(error)))
                continue
            return Verdict(value["score"] == 1, printable(value["reason"]), calls, read, written)
        return Verdict(None, problem, calls, read, written)

    async def _reply(self, request_id: str, messages: tuple[Message, ...]) -> ChatReply:
        request = ChatRequest(
            request_id=request_id, messages=messages, temperature=0.0, max_tokens=self._config.max_tokens, schema=SCHEMA
        )
        async with self._places:
            try:
                async with within(self._config.timeout_s):
                    reply = await self._model.chat(request)
            except TimeoutError:
                raise GenerationError(f"judge: no answer within {self._config.timeout_s:g} s") from None
        self.replies += 1
        self.input_tokens += reply.input_tokens
        self.output_tokens += reply.output_tokens
        return reply


def prompt_of(question: str, references: Sequence[str], answer: str) -> str:
    """The judge's prompt; what people and models wrote is quoted, so that it cannot leave its tags."""
    listed = "\n".join(f"{number}. {quote(text)}" for number, text in enumerate(references, start=1))
    return template().substitute(question=quote(question), references=listed, answer=quote(answer[:LONGEST_ANSWER]))


def repair(reply: str, error: str) -> tuple[Message, Message]:
    """The turns that show a judge its unusable reply and what is wrong with it."""
    return (
        {"role": "assistant", "content": quote(reply)[:SHOWN_REPLY] or "(nothing)"},
        {"role": "user", "content": f"This cannot be used: {error}. Reply again, with the JSON object alone."},
    )


@cache
def template() -> Template:
    """The prompt's text."""
    return Template(PROMPT.read_text(encoding="utf-8").strip())


def digest() -> str:
    """Sixteen hexadecimal digits that change with the judge's wording; part of an evaluation's fingerprint."""
    return hashlib.sha256(template().template.encode()).hexdigest()[:16]
