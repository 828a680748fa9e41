"""A ChatModel on a provider's batch API: many requests as one file, half the price, replies within hours.

`chat` looks like any other, so that a recipe needs no change: requests that come while nothing else does are gathered
and uploaded as JSON Lines, the batch is polled, and every caller gets its reply. Submitted batches are noted in a file
beside the journal before they are created, so that a run that was killed fetches what it has paid for.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
from openai.types import Batch
from openai.types.chat import ChatCompletion

from memo_ray.config.models import Batches, OpenAIModel
from memo_ray.errors import GenerationError, PromptRefused, SpendingLimitReached
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.models.journal import Journal, append_line, read_lines, request_key
from memo_ray.models.openai import PASSING, arguments, client_of, failure, reply_of
from memo_ray.models.spending import Spending

ENDPOINT = "/v1/chat/completions"
ENDED = frozenset({"completed", "expired", "cancelled", "failed"})
MARK = "memo_submission"
"""Key of the batch's metadata under which it can be found again if its id was never noted."""


@dataclass
class Waiting:
    """A request whose caller waits for `reply`. `tries`: batches in which it has come to nothing."""

    request: ChatRequest
    reply: asyncio.Future[ChatReply]
    tries: int = 0


class BatchChatModel:
    """One endpoint and model through its batch API. `journal`: as for OpenAIChatModel."""

    def __init__(
        self,
        config: OpenAIModel,
        journal: Path | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Raises ConfigError when the key's environment variable is named but not set."""
        self.name = config.model
        self._config, self._sleep = config, sleep
        self._batches = config.batch or Batches()
        # Polls go on for hours; a failed one is worth the client's own retries.
        self._client = client_of(config).with_options(max_retries=config.max_retries)
        self._journal = Journal(journal)
        self._spending = Spending(config, self._journal)
        self._noted = journal.with_suffix(".batches.jsonl") if journal else None
        self._queue: dict[str, Waiting] = {}
        self._submitted: dict[str, Waiting] = {}
        self._arrived = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def chat(self, request: ChatRequest) -> ChatReply:
        """The whole reply, once its batch has it. Raises as OpenAIChatModel's does."""
        key = request_key(self.name, request)
        kept = self._journal.get(key)
        if kept is not None:
            return kept
        waiting = self._queue.get(key) or self._submitted.get(key)
        if waiting is None:
            waiting = self._queue[key] = Waiting(request, asyncio.get_running_loop().create_future())
        self._arrived.set()
        if not self._tasks:
            self._start(self._gather())
        return await asyncio.shield(waiting.reply)

    async def stream(self, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        """The whole reply as one piece, then as a ChatReply."""
        reply = await self.chat(request)
        yield reply.text
        yield reply

    async def close(self) -> None:
        """Stop waiting. Submitted batches go on at the provider; a later run with the same journal fetches them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task that failed tells every caller, who would otherwise wait for ever."""
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            for waiting in [*self._queue.values(), *self._submitted.values()]:
                if not waiting.reply.done():
                    waiting.reply.set_exception(error)

    async def _gather(self) -> None:
        """Fetch what an earlier run submitted; then make a batch of what has come whenever nothing more comes."""
        try:
            await self._resume()
        except openai.OpenAIError as error:
            self._refuse(list(self._queue), failure(self._config, error))
        while True:
            await self._arrived.wait()
            while self._arrived.is_set() and len(self._queue) < self._batches.max_requests:
                self._arrived.clear()
                await self._sleep(self._batches.gather_s)
            for key in list(self._queue):
                kept = self._journal.get(key)
                if kept is not None:
                    self._answer(key, kept)
            keys = list(self._queue)[: self._batches.max_requests]
            if keys:
                self._submitted |= {key: self._queue.pop(key) for key in keys}
                self._start(self._submit(keys))
            if self._queue:
                self._arrived.set()

    async def _submit(self, keys: list[str]) -> None:
        """Upload and create one batch, and follow it. What fails is told to every caller of it."""
        estimate = sum((self._spending.estimate(self._submitted[key].request) for key in keys), Counter[str]())
        begun = False
        try:
            while not self._spending.begin(estimate, len(keys)):
                await self._sleep(self._batches.poll_s)
            begun = True
            mark = uuid.uuid4().hex
            self._note(mark=mark)
            lines = [self._line(key) for key in keys]
            file = await self._client.files.create(file=(f"{mark}.jsonl", "".join(lines).encode()), purpose="batch")
            batch = await self._client.batches.create(
                input_file_id=file.id, endpoint=ENDPOINT, metadata={MARK: mark},
                completion_window=self._batches.completion_window,  # type: ignore[arg-type]  # a provider may offer others
            )  # fmt: skip
            self._note(mark=mark, batch=batch.id)
            await self._follow(mark, batch.id)
        except SpendingLimitReached as reached:
            self._refuse(keys, reached)
        except openai.OpenAIError as error:
            self._refuse(keys, failure(self._config, error))
        finally:
            if begun:
                replied = sum(self._journal.get(key) is not None for key in keys)
                self._spending.end(estimate, replied=replied, requests=len(keys))
        self._again(keys)

    def _line(self, key: str) -> str:
        body = arguments(self._config, self._submitted[key].request)
        return json.dumps({"custom_id": key, "method": "POST", "url": ENDPOINT, "body": body}) + "\n"

    async def _follow(self, mark: str, batch_id: str) -> None:
        """Poll a batch until it has ended, and keep every reply that it holds."""
        while (batch := await self._client.batches.retrieve(batch_id)).status not in ENDED:
            await self._sleep(self._batches.poll_s)
        for file_id in (batch.output_file_id, batch.error_file_id):
            if file_id:
                text = (await self._client.files.content(file_id)).text
                for line in text.splitlines():
                    if line.strip():
                        self._read(json.loads(line))
        self._note(mark=mark, batch=batch_id, done=True)
        if batch.status == "failed":
            keys = [key for key in self._submitted if not self._submitted[key].reply.done()]
            self._refuse(keys, GenerationError(f"endpoint {self._config.base_url}: the batch failed ({faults(batch)})"))

    def _read(self, line: dict[str, Any]) -> None:
        """One line of a batch's output or error file."""
        key, response = line["custom_id"], line.get("response") or {}
        status, body = response.get("status_code", 0), response.get("body") or {}
        if status == 200:
            completion = ChatCompletion.model_construct(None, **body)
            choice = completion.choices[0] if completion.choices else None
            if choice is not None:
                reply = reply_of(choice.message.content or "", choice.finish_reason, completion.usage)
                if self._journal.get(key) is None:
                    self._journal.put(key, reply)
                self._answer(key, reply)
                return
        passing = status in PASSING or status >= 500 or status == 0
        error = body.get("error") or line.get("error") or {}
        said = " ".join(str(error.get("message", f"status {status}")).split())[:200]
        if not passing:
            self._refuse([key], PromptRefused(f"endpoint {self._config.base_url}: refuses the request ({said})"))

    def _answer(self, key: str, reply: ChatReply) -> None:
        waiting = self._submitted.pop(key, None) or self._queue.pop(key, None)
        if waiting is not None and not waiting.reply.done():
            waiting.reply.set_result(reply)

    def _refuse(self, keys: list[str], error: GenerationError) -> None:
        for key in keys:
            waiting = self._submitted.pop(key, None) or self._queue.pop(key, None)
            if waiting is not None and not waiting.reply.done():
                waiting.reply.set_exception(error)
                waiting.reply.exception()  # a caller that was cancelled will not look

    def _again(self, keys: list[str]) -> None:
        """Put what an expired batch or a passing failure left without a reply into the next one, or give it up."""
        for key in [key for key in keys if key in self._submitted]:
            waiting = self._submitted[key]
            waiting.tries += 1
            if waiting.tries > self._config.max_retries:
                said = f"endpoint {self._config.base_url}: no reply in {waiting.tries} batches; raise max_retries"
                self._refuse([key], GenerationError(said))
            else:
                self._queue[key] = self._submitted.pop(key)
                self._arrived.set()

    async def _resume(self) -> None:
        """Fetch the batches that an earlier run submitted and did not live to read."""
        for mark, noted in unread(self._noted).items():
            batch_id = noted.get("batch") or await self._find(mark)
            if batch_id:
                await self._follow(mark, batch_id)
            else:
                self._note(mark=mark, done=True)

    async def _find(self, mark: str) -> str:
        """The id of the batch with this mark; empty when it was never created."""
        async for batch in self._client.batches.list(limit=100):
            if (batch.metadata or {}).get(MARK) == mark:
                return batch.id
        return ""

    def _note(self, **entry: Any) -> None:
        if self._noted:
            append_line(self._noted, entry)


def unread(noted: Path | None) -> dict[str, dict[str, Any]]:
    """The submissions in the file `noted` that are not done, by their mark."""
    found: dict[str, dict[str, Any]] = {}
    for entry in read_lines(noted) if noted else ():
        found.setdefault(entry["mark"], {}).update(entry)
    return {mark: entry for mark, entry in found.items() if not entry.get("done")}


def faults(batch: Batch) -> str:
    """What a failed batch says went wrong."""
    found = batch.errors.data if batch.errors and batch.errors.data else []
    return "; ".join(dict.fromkeys(str(fault.message) for fault in found))[:300] or "the provider gives no reason"
