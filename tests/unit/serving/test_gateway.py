"""The gateway's routes over a backend in this process: the key, sizes, time, and failures as OpenAI's errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from openai.types.chat import ChatCompletionChunk

from memo_ray.errors import ConfigError, GenerationError
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.serving.backend import Busy, Listed, NoLedger
from memo_ray.serving.failures import new_door
from memo_ray.serving.gateway import Entrance, GatewaySettings, create_app
from memo_ray.serving.keys import Key, digest_of
from memo_ray.serving.ledger import LedgerDeployment
from memo_ray.serving.replies import Defaults

pytestmark = pytest.mark.anyio

ANSWER = {
    "id": "answer-1", "question": "Who?", "answer": "Ada.", "justification": "Because.", "citations": [],
    "memories": [], "degraded": False, "support": [], "stop_reason": "answered", "stages": [], "seconds": 1.0,
    "usage": {m: {"input_tokens": 2, "output_tokens": 1} for m in ("executive", "memory")},
}  # fmt: skip


class Echo:
    """Says back what it was asked; `failure` is raised by every call, `pause_s` passes before it."""

    def __init__(self) -> None:
        self.requests: list[ChatRequest] = []
        self.failure: Exception | None = None
        self.pause_s = 0.0
        self.served: tuple[str, ...] = ()
        self.asked: list[tuple[str, ...]] = []
        self.swapped: list[str] = []
        self.ledger: LedgerDeployment | None = None
        self.browsed: list[str] = []
        self.states = {"memory": "HEALTHY", "protocol": "UPSCALING"}

    async def act(self) -> None:
        await asyncio.sleep(self.pause_s)
        if self.failure:
            raise self.failure

    async def chat(self, model: str, request: ChatRequest) -> ChatReply:
        self.requests.append(request)
        await self.act()
        return ChatReply(f"{model}: {request.messages[-1]['content']}", "length", 3, 2, 1)

    async def stream(self, model: str, request: ChatRequest) -> AsyncIterator[str | ChatReply]:
        self.requests.append(request)
        yield model
        await self.act()
        yield "!"
        yield ChatReply(f"{model}!", "length", 7, 2)

    async def memories(self) -> tuple[str, ...]:
        return self.served

    async def answer(self, answer_id: str, question: str, memories: tuple[str, ...]) -> dict[str, Any]:
        self.asked.append(memories)
        await self.act()
        return {**ANSWER, "question": question}

    async def events(self, answer_id: str, question: str, memories: tuple[str, ...]) -> AsyncIterator[dict[str, Any]]:
        self.asked.append(memories)
        yield {"event": {"kind": "stage", "stage": "grounding"}}
        await self.act()
        yield {"answer": {**ANSWER, "question": question}}

    async def browse(self, memory: str, what: Listed, query: dict[str, Any]) -> dict[str, Any] | None:
        if self.ledger is None:
            raise NoLedger
        self.browsed.append(memory)
        return self.ledger.browse(what, query)

    async def table(self) -> list[dict[str, Any]]:
        return [{"entry": name} for name in self.served]

    async def swap(self, memory: str) -> None:
        if memory.partition("@")[0] not in self.served:
            raise ConfigError(f"{memory}: is not served")
        self.swapped.append(memory)

    async def health(self) -> dict[str, str]:
        return self.states


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def echo() -> Echo:
    return Echo()


def client_of(
    echo: Echo, key: str = "", timeout_s: float = 5, keys: tuple[Key, ...] = (), routed: bool = False
) -> httpx.AsyncClient:
    settings = GatewaySettings(
        keys=(*keys, Key(name="default", sha256=digest_of(key))) if key else keys,
        models=("memo", "memory"),
        defaults=Defaults(max_tokens={"memory": 512}, temperatures={"memory": 0.0}),
        max_request_bytes=2048,
        timeout_s=timeout_s,
        routed=routed,
    )
    transport = httpx.ASGITransport(create_app(Entrance(echo, settings), new_door()), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway")


def chat(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Who?"}], **fields}


async def test_memory_is_asked_with_the_servers_defaults_or_the_clients_choices(echo: Echo) -> None:
    http = client_of(echo)
    body = (await http.post("/v1/chat/completions", json=chat("memory"))).json()
    assert body["choices"][0]["message"]["content"] == "memory: Who?"
    assert body["choices"][0]["finish_reason"] == "length"
    assert body["usage"]["prompt_tokens_details"] == {"cached_tokens": 1}
    await http.post("/v1/chat/completions", json=chat("memory", temperature=0.7, max_tokens=3, seed=5))
    first, second = echo.requests
    assert (first.temperature, first.max_tokens, first.top_p, first.seed) == (0.0, 512, 1.0, None)
    assert (second.temperature, second.max_tokens, second.seed) == (0.7, 3, 5)
    assert first.request_id != second.request_id


@pytest.mark.parametrize("stream", [False, True])
async def test_stop_is_passed_to_a_model_and_cuts_the_protocols_answer(echo: Echo, stream: bool) -> None:
    http = client_of(echo)
    await http.post("/v1/chat/completions", json=chat("memory", stop=["\n", "."], stream=stream))
    assert echo.requests[0].stop == ("\n", ".")
    cut = (await http.post("/v1/chat/completions", json=chat("memo", stop="a", stream=stream))).text
    assert '"content": "Ad"' in cut or '"content":"Ad"' in cut
    assert "Ada" not in cut


async def test_only_the_right_bearer_key_opens(echo: Echo) -> None:
    http = client_of(echo, key="s3crét")
    for value in (None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic s3crét", "s3crét"):
        headers = [] if value is None else [(b"Authorization", value.encode())]
        for send in (
            http.get("/v1/models", headers=headers),
            http.post("/v1/answers", json={"question": "Who?"}, headers=headers),
        ):
            refused = await send
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer"), value
            assert refused.json()["error"]["type"] == "authentication_error"
    assert (await http.get("/healthz")).status_code == 200
    ascii_key = client_of(echo, key="s3cret")
    opened = await ascii_key.get("/v1/models", headers={"Authorization": "bearer s3cret"})
    assert [row["id"] for row in opened.json()["data"]] == ["memo", "memory"]


FAILURES = [
    (Busy("full"), 429, "overloaded", "full"),
    (GenerationError("endpoint http://x: cannot be reached"), 502, "model_failed", "cannot be reached"),
    (TimeoutError(), 504, "timeout", "serving.request_timeout_s"),
    (ZeroDivisionError("secret detail"), 500, "internal", "the server's log says more"),
]


@pytest.mark.parametrize(("failure", "status", "code", "message"), FAILURES, ids=[code for _, _, code, _ in FAILURES])
async def test_failures_have_their_status_and_openai_s_body(
    echo: Echo, failure: Exception, status: int, code: str, message: str
) -> None:
    echo.failure = failure
    http = client_of(echo)
    for path, body in (("/v1/answers", {"question": "Who?"}), ("/v1/chat/completions", chat("memory"))):
        response = await http.post(path, json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (status, code)
        assert message in response.json()["error"]["message"]
        assert "secret detail" not in response.text
        assert response.headers.get("retry-after") == ("1" if status == 429 else None)


async def test_a_failure_in_a_stream_is_its_last_event(echo: Echo) -> None:
    echo.failure = GenerationError("the engine died")
    http = client_of(echo)
    lines = (await http.post("/v1/answers", json={"question": "Who?", "stream": True})).text.split("\n\n")
    assert lines[0].startswith("event: stage\n")
    assert lines[1].startswith("event: error\ndata: ") and "the engine died" in lines[1]
    text = (await http.post("/v1/chat/completions", json=chat("memory", stream=True))).text
    assert '"content": "memory"' in text and "the engine died" in text
    assert "[DONE]" not in text


async def test_a_stream_ends_with_the_reason_and_the_tokens(echo: Echo) -> None:
    asked = chat("memory", stream=True, stream_options={"include_usage": True})
    text = (await client_of(echo).post("/v1/chat/completions", json=asked)).text
    *_, last, used, done = [line.removeprefix("data: ") for line in text.strip().split("\n\n")]
    assert done == "[DONE]"
    assert json.loads(last)["choices"][0]["finish_reason"] == "length"
    assert (json.loads(used)["choices"], json.loads(used)["usage"]["completion_tokens"]) == ([], 2)


async def test_time_is_limited_in_both_ways_of_asking(echo: Echo) -> None:
    echo.pause_s = 5
    http = client_of(echo, timeout_s=0.1)
    assert (await http.post("/v1/answers", json={"question": "Who?"})).status_code == 504
    late = await http.post("/v1/chat/completions", json=chat("memo"))
    assert (late.status_code, late.headers["x-should-retry"]) == (504, "false")
    streamed = await http.post("/v1/answers", json={"question": "Who?", "stream": True})
    assert streamed.status_code == 200
    assert '"code": "timeout"' in streamed.text


async def test_a_body_is_read_no_further_than_allowed(echo: Echo) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    response = await client_of(echo).post("/v1/answers", content=endless())
    assert (response.status_code, response.json()["error"]["message"]) == (413, "the body is larger than 2 KiB")


async def test_health_is_that_of_every_deployment(echo: Echo) -> None:
    http = client_of(echo)
    assert (await http.get("/healthz")).status_code == 200
    echo.states["memory"] = "UNHEALTHY"
    sick = await http.get("/healthz")
    assert (sick.status_code, sick.json()["deployments"]["memory"]) == (503, "UNHEALTHY")


async def test_a_streamed_answer_carries_the_stages_in_a_field_that_clients_ignore(echo: Echo) -> None:
    text = (await client_of(echo).post("/v1/chat/completions", json=chat("memo", stream=True))).text
    *rows, done = [line.removeprefix("data: ") for line in text.strip().split("\n\n")]
    read = [ChatCompletionChunk.model_validate_json(row) for row in rows]
    assert done == "[DONE]"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in read) == "Ada."
    assert [chunk.choices[0].finish_reason for chunk in read] == [None, None, None, "stop"]
    assert json.loads(rows[1])["memo_event"] == {"kind": "stage", "stage": "grounding"}
    assert json.loads(rows[3])["memo"]["stop_reason"] == "answered"
