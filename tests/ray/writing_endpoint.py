"""A chat completions server on this machine that writes good questions by rule, and stands for a remote provider.

It understands the prompts of the sentence set well enough to answer each as it should be, so that a whole
synthesis can be run, killed and counted without an engine.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from memo_ray.synthesis.verbs import base_forms, main_verb


@dataclass
class Endpoint:
    """The server, on a free port and in a thread of the test's process. `asked`: how often each prompt was put.

    `delay_s` passes before each reply; `nonsense`: every reply is no JSON.
    """

    port: int = 0
    host: str = "127.0.0.1"
    delay_s: float = 0.0
    nonsense: bool = False
    asked: Counter[str] = field(default_factory=Counter)

    def start(self) -> None:
        app = FastAPI()
        app.add_api_route("/v1/chat/completions", self.reply, methods=["POST"], response_model=None)
        with socket.socket() as probe:
            probe.bind((self.host, 0))
            self.port = probe.getsockname()[1]
        self.server = uvicorn.Server(uvicorn.Config(app, self.host, self.port, log_level="error", lifespan="off"))
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join()

    async def reply(self, request: Request) -> Response:
        body = await request.json()
        said = body["messages"][-1]["content"]
        schema = body["response_format"]["json_schema"]["schema"]
        self.asked[json.dumps([said, schema])] += 1
        await asyncio.sleep(self.delay_s)
        text = "I would rather not." if self.nonsense else json.dumps(written(said, schema))
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse({"id": "x", "object": "chat.completion", "created": 0, "model": body["model"],
                             "choices": [choice], "usage": usage})  # fmt: skip


def written(prompt: str, schema: dict[str, Any]) -> dict[str, str]:
    """The reply to one prompt of the sentence set."""
    properties = schema["properties"]
    if "answer" in properties:
        return {"answer": properties["answer"]["enum"][0]}
    opening = re.match(r"\^(.*?)\( \(", properties["question"]["pattern"])
    first = opening.group(1).replace("\\", "") if opening else ""
    statements = [line.split(": ", 1)[1].rstrip(".") for line in prompt.splitlines() if line.startswith("Statement")]
    questions = [line.split(": ", 1)[1].rstrip("?") for line in prompt.splitlines() if line.startswith("Question")]
    if len(questions) == 2:
        return {"question": f"{questions[0]}, and {questions[1][0].lower()}{questions[1][1:]}?"}
    if questions:
        rest = re.sub(r"^(Who|When did|Which \w+|Where (did|does)|What (did|does)) ", "", questions[0])
        return {"question": f"{first} {rest}?"}
    told = [words_of(statement, first) for statement in statements]
    return {"question": f"{first} {' and '.join(told)}?"}


def words_of(statement: str, opening: str) -> str:
    """The statement without its gap, its verb in the form that the opening asks for, its first article small."""
    words = [word for word in statement.split() if "____" not in word]
    helper = opening.split()[-1]
    at = main_verb([word.strip(",") for word in words])
    if helper in {"did", "does", "do"} and at >= 0:
        words[at] = sorted(base_forms(words[at]), key=len)[-1] if base_forms(words[at]) else words[at]
    elif helper in {"is", "was", "are", "were"} and helper in words:
        words.remove(helper)
    words = [word.lower() if n == 0 and word in {"The", "A", "An"} else word for n, word in enumerate(words)]
    return " ".join(words)
