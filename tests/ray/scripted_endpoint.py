"""A chat completions server on this machine that stands for a remote provider.

It speaks OpenAI's chat completions over HTTP and says what each stage of the protocol needs to hear.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

QUESTION = "In which year did the surveyor of the Lantern Coast reach Quillhaven?"
ANSWER = "1791"
RECALLED = "Isolde Marrick reached Quillhaven in 1791."

SCRIPT: dict[str, dict[str, Any]] = {
    "grounding": {"questions": ["Which surveyor charted the Lantern Coast?", "When was Quillhaven reached?"]},
    "identification": {
        "findings": [{"evidence": 1, "effect": "confirms", "about": "Isolde Marrick"}],
        "facts": ["Isolde Marrick charted the Lantern Coast."],
        "candidates": [{"name": "Isolde Marrick", "rank": 1, "for": [1], "against": []}],
        "confirmed": "Isolde Marrick",
        "decision": "continue",
        "questions": [],
    },
    "answering": {
        "role": "subject",
        "labels": [],
        "facts": ["She reached Quillhaven in 1791."],
        "entity": "Isolde Marrick",
        "decision": "answer",
        "questions": [],
    },
    "synthesis": {"justification": "The memory says so.", "evidence": [1, 2], "answer": ANSWER},
}
"""The executive's reply in each stage, told by the properties of the schema that it is asked to follow."""

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
"""Of every reply."""


@dataclass
class Endpoint:
    """The server, on a free port and in a thread of the test's process. The model "remembers" is the memory.

    `delay_s` passes before each reply. `abandoned` counts the callers who left before it.
    """

    port: int = 0
    host: str = "127.0.0.1"
    delay_s: float = 0.0
    asked: Counter[str] = field(default_factory=Counter)
    abandoned: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def start(self) -> None:
        """Listen; the port stays the same when it is started again."""
        app = FastAPI()
        app.add_api_route("/v1/chat/completions", self.reply, methods=["POST"], response_model=None)
        self.port = self.port or free_port()
        settings = uvicorn.Config(app, self.host, self.port, log_level="error", lifespan="off")
        self.server = uvicorn.Server(settings)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        """Be unreachable."""
        self.server.should_exit = self.server.force_exit = True
        self.thread.join()

    async def reply(self, request: Request) -> Response:
        body = await request.json()
        model = body["model"]
        self.asked[model] += 1
        self.bodies.append(body)
        end = time.monotonic() + self.delay_s
        while time.monotonic() < end:
            if await request.is_disconnected():
                self.abandoned[model] += 1
                return Response()
            await asyncio.sleep(0.02)
        text = RECALLED if model == "remembers" else decided(body)
        for stop in body.get("stop", ()):
            text = text.partition(stop)[0]
        if body.get("stream"):
            return StreamingResponse(chunks(text), media_type="text/event-stream")
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        head = {"id": "x", "object": "chat.completion", "created": 0, "model": model}
        return JSONResponse({**head, "choices": [choice], "usage": USAGE})


def decided(body: dict[str, Any]) -> str:
    """The executive's reply: its script's for a stage's schema, else "hm"."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema", {})
    wanted = set(schema.get("properties", ()))
    return next((json.dumps(reply) for reply in SCRIPT.values() if set(reply) == wanted), "hm")


async def chunks(text: str) -> AsyncIterator[str]:
    """The text in pieces, then its usage, as one who asks for it is told."""
    head = {"id": "x", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    for start in range(0, len(text), 4):
        delta = {"role": "assistant", "content": text[start : start + 4]}
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        yield f"data: {json.dumps({**head, 'choices': [choice]})}\n\n"
    yield f"data: {json.dumps({**head, 'choices': [], 'usage': USAGE})}\n\n"
    yield "data: [DONE]\n\n"


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
