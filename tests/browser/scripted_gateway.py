"""The real gateway, protocol and ledger in this process, over a scripted executive and memory, for a browser.

The texts of models and documents are as hostile as a page can meet: markup, scripts, text that turns the direction of
what follows, words without a space.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memo_ray.artifacts.tables import write_rows
from memo_ray.citations.files import LedgerFiles
from memo_ray.config.protocol import ProtocolConfig
from memo_ray.errors import GenerationError
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.rows import Answer, Chunk, LedgerEntry, Reflection
from memo_ray.serving.backend import Listed
from memo_ray.serving.failures import new_door
from memo_ray.serving.gateway import Entrance, GatewaySettings, create_app
from memo_ray.serving.keys import Key, digest_of
from memo_ray.serving.ledger import LedgerDeployment
from memo_ray.serving.questions import ProtocolDeployment
from memo_ray.serving.replies import Defaults
from tests.ray.scripted_endpoint import free_port

QUESTION = "In which year was the rope maker who kept a tame heron born?"
LONG = "Write at length."
BROKEN = "Fail."
EVIL = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>'
UNBROKEN = "Llanfair" * 60
NOTHING = "nothing"
TURNED = "abc \u202edesrever\u202c def"

KEYS = (
    Key(name="reader", sha256=digest_of("k-reader"), documents=True),
    Key(name="asker", sha256=digest_of("k-asker"), models=("memo/law",)),
)


def listed(name: str, rank: int, *clues: int) -> dict[str, Any]:
    return {"name": name, "rank": rank, "for": list(clues), "against": []}


def identify(questions: list[tuple[str, str]], candidates: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    asked = [{"about": about, "question": question} for about, question in questions]
    reply: dict[str, Any] = {"findings": [], "facts": ["Ilse Verran kept a heron."], "confirmed": ""}
    return {**reply, "candidates": candidates, "decision": "continue", "questions": asked, **changes}


FIRST = [listed("Odo Stell", 1, 3), listed("Ilse Verran", 2, 2), listed(EVIL, 3)]
SCRIPT: dict[str, dict[str, Any]] = {
    "grounding-001": {
        "questions": ["Which rope maker kept a tame heron?", "Who kept a tame heron?", "Which rope makers lived here?"]
    },
    "identification-001": identify(
        [("Odo Stell", "Which bird did Odo Stell keep?"), ("Odo Stell", "Which animal lived with Odo Stell?")], FIRST
    ),
    "identification-002": identify(
        [("Odo Stell", "Was a heron Odo Stell's?"), ("Ilse Verran", "What was Ilse Verran's trade?")],
        [listed("Ilse Verran", 1, 2), listed("Odo Stell", 3, 3)],
    ),
    "identification-003": identify(
        [],
        [listed("Ilse Verran", 1, 2, 7)],
        confirmed="Ilse Verran",
        findings=[{"evidence": 7, "effect": "confirms", "about": "Ilse Verran"}],
        facts=["Ilse Verran kept a heron.", "Ilse Verran was a rope maker."],
    ),
    "answering-001": {
        "role": "subject", "labels": [], "facts": [], "entity": "", "decision": "continue",
        "questions": ["In which year was Ilse Verran born?"],
    },
    "answering-002": {
        "role": "subject", "labels": [{"evidence": 8, "label": "high"}], "facts": ["Born in 1790."], "entity": "",
        "decision": "answer", "questions": [],
    },
    "synthesis-001": {"justification": f"She made ropes. {EVIL}", "evidence": [2, 7, 8], "answer": "1790"},
}  # fmt: skip

SAID = {
    "Who kept a tame heron?": "Ilse Verran",
    "Which rope makers lived here?": f"Odo Stell {EVIL} {TURNED}",
    "What was Ilse Verran's trade?": "rope making",
    "In which year was Ilse Verran born?": "In 1790.",
}

HERON = "Ilse Verran kept a tame heron at Port Amber. She was born in 1790."
PAGES = {
    "chronicle.md": ("The chronicle of Port Amber", f"{'The harbour was busy. ' * 120}{HERON}{' It rained.' * 200}"),
    "evil.html": (f"{EVIL} {UNBROKEN}", f"{EVIL} {TURNED} {UNBROKEN}"),
    **{f"note-{n:02d}.md": (f"Note {n}", f"Note {n} says little.") for n in range(40)},
}


def tables(folder: Path) -> LedgerFiles:
    """A corpus of 42 documents with a handful of reflections, and an evaluation of half of them."""
    pairs = [
        ("r1", "Who kept a tame heron?", "Ilse Verran", "chronicle.md"),
        ("r2", "In which year was Ilse Verran born?", "In 1790.", "chronicle.md"),
        ("r3", f"What does {EVIL} say?", f"{EVIL} {UNBROKEN}", "evil.html"),
        *((f"n{n}", f"What does note {n} say?", "Little.", f"note-{n:02d}.md") for n in range(40)),
    ]
    rows = {
        "reflections": ([Reflection(n, q, a, "direct", "train") for n, q, a, _ in pairs], Reflection),
        "ledger": (
            [LedgerEntry(n, "direct", [f"c-{d}"], [d], "", [], "p", "m", 0) for n, _, _, d in pairs],
            LedgerEntry,
        ),
        "chunks": (
            [Chunk(f"c-{d}", d, 0, title, text, 1, 0, len(text), "") for d, (title, text) in PAGES.items()],
            Chunk,
        ),
        "answers": (
            [
                Answer(n, "epoch-1", "trained", q, [a], a, place % 3 > 0, 0, False, 0, 0, 0)
                for place, (n, q, a, _) in enumerate(pairs[:20])
            ],
            Answer,
        ),
    }  # fmt: skip
    for name, (held, kind) in rows.items():
        write_rows(folder / f"{name}.parquet", held, kind)
    return LedgerFiles(**{name: str(folder / f"{name}.parquet") for name in rows}, system="epoch-1")


class Engine:
    """What a deployment's handle is to its callers. `held`: asks whose id begins so wait until it is something else."""

    def __init__(self) -> None:
        self.held = NOTHING
        self.chat = self

    def options(self, method_name: str = "", **_: Any) -> Any:
        return Several(self) if method_name == "chats" else self

    async def remote(self, request: dict[str, Any]) -> dict[str, Any]:
        ask_id = request["request_id"].split("/")[1]
        while ask_id.startswith(self.held):
            await asyncio.sleep(0.02)
        turn = ask_id.removesuffix(".ask")
        asked = request["messages"][-1]["content"]
        if BROKEN in asked:
            raise GenerationError(f"the engine died {EVIL}")
        text = json.dumps(reply_to(turn, asked)) if turn in SCRIPT else SAID.get(asked, "I don't know.")
        return asdict(ChatReply(text, "stop", 1200, 30))


class Several:
    """A model's handle for several asks in one call, and that call; `engine`: its handle for one."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.replies: list[asyncio.Task[dict[str, Any]]] = []

    def remote(self, requests: list[dict[str, Any]]) -> Several:
        self.replies = [asyncio.create_task(self.engine.remote(request)) for request in requests]
        return self

    async def __aiter__(self) -> AsyncIterator[tuple[int, dict[str, Any] | GenerationError]]:
        for place, reply in enumerate(self.replies):
            try:
                yield place, await reply
            except GenerationError as error:
                yield place, error

    def cancel(self) -> None:
        for reply in self.replies:
            reply.cancel()


def reply_to(turn: str, asked: str) -> dict[str, Any]:
    """The executive's reply; one that was asked for a long one ends with that."""
    if turn == "synthesis-001" and LONG in asked:
        return {**SCRIPT[turn], "answer": f"{EVIL} " + "It went on and on for many years. " * 60}
    return SCRIPT[turn]


class Support:
    """The ledger's deployment as its handle."""

    def __init__(self, ledger: LedgerDeployment) -> None:
        self.ledger = ledger
        self.support = self

    def options(self, **_: Any) -> Support:
        return self

    async def remote(self, pairs: Any) -> Any:
        return self.ledger.support(pairs)


class Scripted:
    """The gateway's backend."""

    def __init__(self, files: LedgerFiles) -> None:
        self.engine = Engine()
        self.ledger = LedgerDeployment([files], None)
        self.left = 0
        handles: tuple[Any, Any] = (self.engine, Support(self.ledger))
        config = ProtocolConfig()
        self.protocol = ProtocolDeployment(handles[0], handles[0], config, schema_enforced=True, ledger=handles[1])

    async def memories(self) -> tuple[str, ...]:
        return "law", "law@2", "wiki", "wiki@1"

    async def chat(self, model: str, request: ChatRequest) -> ChatReply:
        return ChatReply("alone", "stop", 1, 1)

    async def stream(self, model: str, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        for piece in (f"{model} says ", EVIL, " ", UNBROKEN):
            yield piece
        yield ChatReply("", "length", 5, 4)

    async def answer(self, answer_id: str, question: str, memories: tuple[str, ...]) -> dict[str, Any]:
        return await self.protocol.answer(answer_id, question)

    async def events(self, answer_id: str, question: str, memories: tuple[str, ...]) -> AsyncIterator[dict[str, Any]]:
        ended = False
        try:
            async for item in self.protocol.events(answer_id, question):
                if "answer" in item and memories != ("",):
                    item["answer"]["memories"] = [memories[0] if "@" in memories[0] else f"{memories[0]}@2"]
                yield item
            ended = True
        finally:
            self.left += not ended

    async def browse(self, memory: str, what: Listed, query: dict[str, Any]) -> dict[str, Any] | None:
        return self.ledger.browse(what, query)

    async def table(self) -> list[dict[str, Any]]:
        return []

    async def swap(self, memory: str) -> None:
        raise NotImplementedError

    async def health(self) -> dict[str, str]:
        return {"memory": "HEALTHY"}


def as_serve_does(app: ASGIApp) -> ASGIApp:
    """`app`, cancelled when its client leaves: what Ray Serve's proxy does, and uvicorn alone does not."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        messages: asyncio.Queue[Message] = asyncio.Queue()

        async def listen() -> None:
            while True:
                message = await receive()
                messages.put_nowait(message)
                if message["type"] == "http.disconnect":
                    return

        tasks = [asyncio.ensure_future(app(scope, messages.get, send)), asyncio.create_task(listen())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    return called


class Served:
    """The gateway on a free port, in a thread of the test's process. `keys`: none lets everybody in."""

    def __init__(self, backend: Scripted, keys: tuple[Key, ...] = ()) -> None:
        settings = GatewaySettings(
            keys, ("memo", "memory", "executive"),
            Defaults({"memory": 64, "executive": 64}, {"memory": 0.0, "executive": 1.0}), 2**16, 30,
        )  # fmt: skip
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        app = as_serve_does(create_app(Entrance(backend, settings), new_door()))
        self.server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="error", lifespan="off"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join()
