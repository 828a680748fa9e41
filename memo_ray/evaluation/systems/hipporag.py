"""HippoRAG2 as a retriever: the authors' package in an interpreter of its own, spoken to in JSON lines.

Its pins fit no other environment, so it never shares ours: `hipporag_worker.py` runs there with nothing of memo-ray
and without a key. Whatever it wants of a model it asks here, where the endpoints are; its passages are read by the
executive that all systems share.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from memo_ray.config.comparison import HippoRag
from memo_ray.errors import ConfigError, GenerationError, PromptRefused
from memo_ray.evaluation.systems.bm25 import passages_of
from memo_ray.evaluation.systems.context import Found
from memo_ray.evaluation.systems.reading import Passage
from memo_ray.evaluation.systems.system import Corpus, Cost, Failed, Query
from memo_ray.models.chat import ChatModel, ChatRequest
from memo_ray.models.embedding import open_embedder
from memo_ray.models.openai import OpenAIChatModel

WORKER = Path(__file__).parent / "hipporag_worker.py"
ENVIRONMENT = Path(".hipporag/bin/python")
"""Where `make hipporag` puts the interpreter."""
LINE_BYTES = 64 * 2**20
SHOWN = 400


class HippoRagIndex:
    """The package's graph of a corpus; without an `llm` of its own it asks the executive."""

    fit = "drop"

    def __init__(self, config: HippoRag, executive: ChatModel, key: str) -> None:
        """`key` is named in errors. Raises ConfigError for an interpreter or an embedding model that is not there."""
        self._config, self._key = config, key
        self._own = OpenAIChatModel(config.llm) if config.llm else None
        self._llm = self._own or executive
        self._python = interpreter(config, key)
        self._embedder = open_embedder(config.embedding, f"{key}.embedding")
        self._passages: dict[str, Passage] = {}
        self._process: asyncio.subprocess.Process | None = None

    async def prepare(self, corpus: Corpus, folder: Path) -> Cost:
        """Index the chunks; what has been extracted is kept below `folder`, and a later try goes on from there."""
        clock = time.perf_counter()
        self._passages = {text_of(row): row for row in passages_of(corpus)}
        embedding = hashlib.sha256(self._embedder.identity.encode()).hexdigest()[:16]
        home = folder / f"hipporag-{corpus.digest[:16]}"
        home.mkdir(parents=True, exist_ok=True)
        await self._start()
        settings = {
            "save_dir": str(home.absolute()), "llm": self._llm.name, "embedding": embedding,
            "max_tokens": self._config.max_tokens, "instruct": self._config.query_instructions,
        }  # fmt: skip
        before = self._embedder.tokens
        await self._call({"do": "open", **settings})
        told = await self._call({"do": "index", "documents": list(self._passages)})
        calls, tokens = self._spent(told, before)
        return Cost(time.perf_counter() - clock, calls, tokens)

    async def find(self, queries: Sequence[Query]) -> list[Found | Failed]:
        """The `top_k` chunks of each query. One that fails there fails alone."""
        found: list[Found | Failed] = []
        for query in queries:
            before = self._embedder.tokens
            told = await self._call({"do": "retrieve", "query": query.question, "top_k": self._config.top_k}, False)
            passages = [self._passages[text] for text in told.get("documents", ()) if text in self._passages]
            if passages:
                found.append(Found(passages, *self._spent(told, before)))
            else:
                reason = told.get("error", "nothing retrieved")[:SHOWN]
                found.append(Failed(query.question_id, "retrieval_error", f"HippoRAG2: {reason}"))
        return found

    async def close(self) -> None:
        """End the interpreter, and let go of what is not the run's."""
        await self._stop()
        await self._embedder.close()
        if self._own is not None:
            await self._own.close()

    def _spent(self, told: dict[str, Any], before: int) -> tuple[int, dict[str, tuple[int, int]]]:
        """Calls and tokens by model; `before`: what the embedding model had read until then."""
        tokens = {self._llm.name: (int(told["input_tokens"]), int(told["output_tokens"]))}
        read, written = tokens.get(self._embedder.name, (0, 0))
        tokens[self._embedder.name] = (read + self._embedder.tokens - before, written)
        return int(told["calls"]), tokens

    async def _start(self) -> None:
        await self._stop()
        environment = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        environment |= {name: value for name, value in os.environ.items() if name.startswith(("CUDA_", "OMP_"))}
        try:
            # -O: the package asserts that every phrase of a fact has a weight, but scales the least fact's score to 0;
            # where all facts are linked, as in a small corpus, each question would fail. Nothing else rests on that.
            self._process = await asyncio.create_subprocess_exec(
                self._python, "-O", str(WORKER), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE, env=environment, limit=LINE_BYTES, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise ConfigError(f"{self._key}.python: {self._python}: cannot be run ({error.strerror})") from None
        self._heard = asyncio.create_task(tail(self._process))

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):  # the package starts processes of its own, which outlive it
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _call(self, request: dict[str, Any], raises: bool = True) -> dict[str, Any]:
        """What the worker says to `request`; its questions to models are answered meanwhile.

        Raises GenerationError when it ends or takes too long, and, with `raises`, for an error of the package's.
        """
        try:
            told = await asyncio.wait_for(self._conversation(request), self._config.timeout_s)
        except TimeoutError:
            await self._stop()
            raise GenerationError(f"HippoRAG2: no answer within {self._config.timeout_s:g} s") from None
        except (OSError, ValueError) as error:
            raise GenerationError(f"HippoRAG2: its interpreter cannot be spoken to ({error})") from None
        if raises and "error" in told:
            raise GenerationError(f"HippoRAG2: {told['error'][:SHOWN]}")
        return told

    async def _conversation(self, request: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        if process is None or process.stdout is None:
            raise GenerationError("HippoRAG2: is not running")
        await self._send(request)
        async with asyncio.TaskGroup() as replies:
            while line := await process.stdout.readline():
                told = json.loads(line)
                if "ask" not in told:
                    return told
                replies.create_task(self._reply(told))
        said = await self._heard
        raise GenerationError(f"HippoRAG2: its interpreter ended ({said[-SHOWN:] or 'it said nothing'})")

    async def _send(self, message: dict[str, Any]) -> None:
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.write(json.dumps(message).encode() + b"\n")
        await process.stdin.drain()

    async def _reply(self, asked: dict[str, Any]) -> None:
        """Answer one question of the worker's to a model."""
        try:
            told = await (self._embedded(asked) if "embed" in asked else self._chatted(asked))
        except GenerationError as error:
            told = {"error": str(error), "refused": isinstance(error, PromptRefused)}
        with suppress(ConnectionError):  # its end is seen where its lines are read
            await self._send({"reply": asked["ask"], **told})

    async def _chatted(self, asked: dict[str, Any]) -> dict[str, Any]:
        reply = await self._llm.chat(
            ChatRequest(f"hipporag-{asked['ask']}", tuple(asked["chat"]), 0.0, int(asked["max_tokens"]), seed=0)
        )
        spent = {"prompt_tokens": reply.input_tokens, "completion_tokens": reply.output_tokens}
        return {"text": reply.text, "spent": {**spent, "finish_reason": reply.finish_reason}}

    async def _embedded(self, asked: dict[str, Any]) -> dict[str, Any]:
        vectors = await self._embedder.embed(asked["embed"])
        return {"vectors": base64.b64encode(vectors.tobytes()).decode(), "dimensions": vectors.shape[1]}


def interpreter(config: HippoRag, key: str) -> str:
    """The interpreter with the package: `config.python`, else where `make hipporag` puts it, here or beside the
    environment of this process. Raises ConfigError."""
    places = [ENVIRONMENT, Path(sys.prefix).parent / ENVIRONMENT] if config.python is None else [Path(config.python)]
    for place in (place.expanduser().absolute() for place in places):
        if place.is_file() and os.access(place, os.X_OK):
            return str(place)
    raise ConfigError(
        f"{key}.python: {places[0]}: is no interpreter; `make hipporag` makes an environment with the package there"
    )


async def tail(process: asyncio.subprocess.Process) -> str:
    """What a process writes to stderr, the end of it, on one line; read all along, so that it never waits."""
    kept = ""
    assert process.stderr is not None
    while data := await process.stderr.read(65_536):
        kept = (kept + data.decode(errors="replace"))[-4 * SHOWN :]
    return " ".join(kept.split())


def text_of(passage: Passage) -> str:
    """A passage as the package wants it: its title on the first line."""
    return f"{passage.title}\n{passage.text}".strip()
