"""The endpoint client against a real HTTP server on this machine: replies, streams, retries, and clear failures."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from memo_ray.config.models import OpenAIModel
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.models.openai import OpenAIChatModel

REQUEST = ChatRequest("r1", ({"role": "user", "content": "Who?"},), 0.5, 8, schema={"type": "object"}, seed=7)


class Endpoint(BaseHTTPRequestHandler):
    """Answers chat completions; the first word of the model's name says how."""

    seen: list[dict[str, Any]] = []
    failures_left = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Endpoint.seen.append({"body": body, "authorization": self.headers.get("Authorization")})
        if Endpoint.failures_left:
            Endpoint.failures_left -= 1
            return self.reply(503, {"error": {"message": "busy"}})
        status = {"unknown": 404, "forbidden": 401, "broken": 400, "down": 501}.get(body["model"], 200)
        if status != 200:
            return self.reply(status, {"error": {"message": "no"}})
        if body.get("stream"):
            pieces: list[Any] = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("A", "da")]
            pieces.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
            pieces.append({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}})
            lines = "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces) + "data: [DONE]\n\n"
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            self.wfile.write(lines.encode())
            return None
        message = {"role": "assistant", "content": " Ada "}
        usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
        return self.reply(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})

    def reply(self, status: int, content: dict[str, Any]) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    Endpoint.seen, Endpoint.failures_left = [], 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def model(url: str, name: str = "good", **changes: Any) -> OpenAIChatModel:
    return OpenAIChatModel(OpenAIModel(engine="openai", base_url=url, model=name, **changes))


def test_a_reply_and_what_was_sent(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret-1")
    reply = asyncio.run(model(url, api_key_env="A_KEY").chat(REQUEST))
    assert (reply.text, reply.finish_reason, reply.input_tokens, reply.output_tokens) == ("Ada", "stop", 5, 1)
    body = Endpoint.seen[0]["body"]
    assert (body["max_tokens"], body["seed"], body["response_format"]["type"]) == (8, 7, "json_schema")
    assert Endpoint.seen[0]["authorization"] == "Bearer secret-1"


def test_without_structured_outputs_no_schema_is_sent(url: str) -> None:
    asyncio.run(model(url, structured_outputs=False).chat(REQUEST))
    assert "response_format" not in Endpoint.seen[0]["body"]


def test_streaming(url: str) -> None:
    async def collect() -> list[str | ChatReply]:
        return [piece async for piece in model(url).stream(REQUEST)]

    assert asyncio.run(collect()) == ["A", "da", ChatReply("Ada", "length", 5, 2)]


def test_a_busy_endpoint_is_tried_again(url: str) -> None:
    Endpoint.failures_left = 1
    assert asyncio.run(model(url, max_retries=2).chat(REQUEST)).text == "Ada"
    assert len(Endpoint.seen) == 2


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unknown", "does not know the model unknown"),
        ("forbidden", "refuses the key"),
        ("broken", "refuses the request"),
        ("down", "answered status 501"),
    ],
)
def test_failures_name_the_endpoint_and_the_remedy(url: str, name: str, said: str) -> None:
    with pytest.raises(GenerationError, match=said) as caught:
        asyncio.run(model(url, name).chat(REQUEST))
    assert url in str(caught.value)


def test_an_unreachable_endpoint() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(GenerationError, match="cannot be reached; check base_url"):
        asyncio.run(model(url, max_retries=0).chat(REQUEST))


def test_a_named_key_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY is not set"):
        model("http://127.0.0.1:1/v1", api_key_env="NO_SUCH_KEY")
