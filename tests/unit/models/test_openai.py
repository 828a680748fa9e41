"""The endpoint client against a real HTTP server on this machine: replies, streams, retries, and clear failures."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from memo_ray.config.models import OpenAIModel, Prices, SpendingLimit
from memo_ray.errors import ConfigError, GenerationError, SpendingLimitReached
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.models.openai import OpenAIChatModel
from memo_ray.models.spending import money

REQUEST = ChatRequest(
    "r1", ({"role": "user", "content": "Who?"},), 0.5, 8, schema={"type": "object"}, seed=7, stop=("\n",)
)


class Endpoint(BaseHTTPRequestHandler):
    """Answers chat completions; the first word of the model's name says how."""

    seen: list[dict[str, Any]] = []
    failures_left = 0
    refusal: tuple[int, dict[str, str]] = (503, {})
    code = ""
    text = " Ada "

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Endpoint.seen.append({"body": body, "authorization": self.headers.get("Authorization")})
        if Endpoint.failures_left:
            Endpoint.failures_left -= 1
            status, headers = Endpoint.refusal
            return self.reply(status, {"error": {"message": "busy", "code": Endpoint.code}}, headers)
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
        message = {"role": "assistant", "content": Endpoint.text, "reasoning_content": "Who? Ada."}
        usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
        return self.reply(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage})

    def reply(self, status: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        text = json.dumps(content).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the test's output quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    Endpoint.seen, Endpoint.failures_left, Endpoint.text = [], 0, " Ada "
    Endpoint.refusal, Endpoint.code = (503, {}), ""
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
    assert body["stop"] == ["\n"]
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


def waits_of(url: str, **changes: Any) -> tuple[list[float], str]:
    """How long the client slept between tries, and what it got in the end."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    config = OpenAIModel(engine="openai", base_url=url, model="good", **changes)
    client = OpenAIChatModel(config, sleep=sleep)
    try:
        return waits, asyncio.run(client.chat(REQUEST)).text
    except GenerationError as error:
        return waits, str(error)


def test_the_wait_that_an_endpoint_asks_for_is_kept(url: str) -> None:
    Endpoint.failures_left, Endpoint.refusal = 2, (503, {"Retry-After": "41"})
    assert waits_of(url) == ([41.0, 41.0], "Ada")


def test_a_refusal_without_a_wait_is_met_with_backoff(url: str) -> None:
    Endpoint.failures_left = 3
    waits, said = waits_of(url)
    assert said == "Ada" and all(0.25 * 2**n <= wait <= 0.5 * 2**n for n, wait in enumerate(waits))


def test_a_rate_limit_holds_every_request_until_its_time(url: str) -> None:
    Endpoint.failures_left, Endpoint.refusal = 1, (429, {"Retry-After-Ms": "30"})
    waits, said = waits_of(url)
    assert (waits, said) == ([], "Ada"), "the limiter waits, for all requests"


@pytest.mark.parametrize(
    ("status", "headers", "code", "said"),
    [(429, {}, "insufficient_quota", "quota is used up"), (429, {"Retry-After": "90000"}, "", "limits the rate")],
)
def test_what_does_not_pass_is_not_tried_again(
    url: str, status: int, headers: dict[str, str], code: str, said: str
) -> None:
    Endpoint.failures_left, Endpoint.refusal, Endpoint.code = 9, (status, headers), code
    waits, error = waits_of(url)
    assert said in error and waits == [] and len(Endpoint.seen) == 1


def test_reasoning_is_no_part_of_the_reply(url: str) -> None:
    Endpoint.text = "<think>Who?</think>\nAda"
    assert asyncio.run(model(url).chat(REQUEST)).text == "Ada"


def requests(count: int) -> list[ChatRequest]:
    return [replace(REQUEST, request_id=f"r{number}", max_tokens=10) for number in range(count)]


async def put(client: OpenAIChatModel, count: int) -> list[ChatReply | BaseException]:
    return await asyncio.gather(*(client.chat(request) for request in requests(count)), return_exceptions=True)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"spending": SpendingLimit(tokens=60)}, "limit of 60 tokens is reached .* raise spending.tokens"),
        (
            {"spending": SpendingLimit(money=0.00065), "prices": Prices(input=10.0, output=50.0)},
            "limit of 0.00065 USD is reached .* raise spending.money",
        ),
    ],
)
def test_a_spending_limit_stops_cleanly_and_a_higher_one_goes_on(
    url: str, tmp_path: Path, limits: dict[str, Any], said: str
) -> None:
    config = OpenAIModel(engine="openai", base_url=url, model="good", concurrency=3, **limits)
    told = asyncio.run(put(OpenAIChatModel(config, tmp_path / "replies.jsonl"), 20))
    paid = sum(isinstance(reply, ChatReply) for reply in told)
    assert 3 <= paid < 20 and len(Endpoint.seen) == paid, "nothing is sent beyond the limit, nothing sent is lost"
    stops = [reply for reply in told if not isinstance(reply, ChatReply)]
    assert all(isinstance(stop, SpendingLimitReached) and re.search(said, str(stop)) for stop in stops)
    free = config.model_copy(update={"spending": None})
    again = asyncio.run(put(OpenAIChatModel(free, tmp_path / "replies.jsonl"), 20))
    assert all(isinstance(reply, ChatReply) for reply in again)
    assert len(Endpoint.seen) == 20, "what was paid for is not asked again"


def test_a_limit_in_money_needs_prices() -> None:
    with pytest.raises(ValueError, match="needs prices"):
        OpenAIModel(engine="openai", base_url="http://x/v1", model="m", spending=SpendingLimit(money=1.0))


def test_prices_count_cached_input_and_batches() -> None:
    prices = Prices(input=2.0, output=8.0, cached_input=0.5)
    used = {"input_tokens": 3_000_000, "cached_tokens": 2_000_000, "output_tokens": 1_000_000}
    assert money(prices, used) == 2.0 + 1.0 + 8.0
    assert money(prices, used, batch=True) == 5.5
