"""OpenAI's client, LangChain's and curl, unchanged, against a deployed gateway."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from memo_ray.serving.ray_serving import ServedRun, deploy
from tests.ray.scripted_endpoint import ANSWER, QUESTION, RECALLED, SCRIPT, Endpoint
from tests.ray.test_serving import settings

KEY = "k-clients"
LAST: Any = {"role": "user", "content": QUESTION}
CUT = RECALLED.partition(" in ")[0]
PLAIN: dict[str, Any] = {"n": 1, "seed": 7, "tools": [], "tool_choice": "none", "stop": [" in "]}
"""What clients send by themselves or are often told to: one choice, no tools, a seed, a stop text."""
CENTURY: dict[str, Any] = {**PLAIN, "stop": ANSWER[2:]}
"""The same, with what ends the answer after its first two digits."""


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    scripted = Endpoint()
    scripted.start()
    yield scripted
    scripted.stop()


@pytest.fixture(scope="module")
def served(ray_cluster: None, endpoint: Endpoint) -> Iterator[ServedRun]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMO_TEST_KEY", KEY)
        with deploy(settings(endpoint, api_key_env="MEMO_TEST_KEY", max_request_kb=4), None, None, wait_s=120) as run:
            yield run


@pytest.fixture
def client(served: ServedRun) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{served.url}/v1", api_key=KEY, max_retries=0)


def test_openai_s_client_with_all_that_it_sends(client: openai.OpenAI, endpoint: Endpoint) -> None:
    endpoint.bodies.clear()
    done = client.chat.completions.create(model="memory", messages=[LAST], **PLAIN)
    assert (done.choices[0].message.content, len(done.choices), done.choices[0].message.tool_calls) == (CUT, 1, None)
    used = done.usage
    assert used and (used.prompt_tokens, used.completion_tokens, used.total_tokens) == (10, 5, 15)
    assert (endpoint.bodies[0]["seed"], endpoint.bodies[0]["stop"]) == (7, [" in "])
    assert not {"tools", "tool_choice", "n"} & set(endpoint.bodies[0])
    done = client.chat.completions.create(model="memo", messages=[LAST], **CENTURY)
    assert done.choices[0].message.content == ANSWER[:2]
    assert done.usage and done.usage.total_tokens == 90


def test_openai_s_client_streams_with_all_that_it_sends(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(
        model="memory", messages=[LAST], stream_options={"include_usage": True}, **PLAIN
    ) as events:
        pieces = [event.delta for event in events if event.type == "content.delta"]
        done = events.get_final_completion()
    assert "".join(pieces) == done.choices[0].message.content == CUT
    assert len(pieces) > 2
    assert done.usage and done.usage.total_tokens == 15

    async def streamed() -> str:
        async with openai.AsyncOpenAI(base_url=str(client.base_url), api_key=KEY) as asynchronous:
            chunks = await asynchronous.chat.completions.create(model="memo", messages=[LAST], stream=True, **CENTURY)
            return "".join([c.choices[0].delta.content or "" async for c in chunks if c.choices])

    assert asyncio.run(streamed()) == ANSWER[:2]


def test_openai_s_client_understands_the_errors(client: openai.OpenAI) -> None:
    refused: list[tuple[type[openai.APIStatusError], dict[str, Any], str | None, str | None]] = [
        (openai.BadRequestError, {"n": 2}, None, "n"),
        (openai.BadRequestError, {"max_tokens": 0}, None, "max_tokens"),
        (openai.NotFoundError, {"model": "memo/other"}, "model_not_found", "model"),
        (openai.APIStatusError, {"messages": [{"role": "user", "content": "x" * 5000}]}, None, None),
    ]
    for kind, fields, code, param in refused:
        for stream in (False, True):
            with pytest.raises(kind) as caught:
                client.chat.completions.create(**({"model": "memo", "messages": [LAST], "stream": stream} | fields))
            body: Any = caught.value.body
            assert (caught.value.code, caught.value.param, caught.value.type) == (code, param, "invalid_request_error")
            assert set(body) == {"message", "type", "param", "code"}


@pytest.fixture
def chat(served: ServedRun) -> Any:
    """Makes LangChain's ChatOpenAI with further arguments."""
    langchain = pytest.importorskip("langchain_openai", reason="langchain-openai is not in the lock")

    def made(model: str, **arguments: Any) -> Any:
        return langchain.ChatOpenAI(
            model=model, base_url=f"{served.url}/v1", api_key=KEY, max_retries=0, stream_usage=True, **arguments
        )

    return made


def test_langchain_asks_streams_and_counts(chat: Any, endpoint: Endpoint) -> None:
    endpoint.bodies.clear()
    memory = chat("memory", seed=7, n=1, temperature=0.2, max_tokens=9, stop=[" in "])
    talk = [("system", "Be brief."), ("human", "Hello"), ("ai", "Hello."), ("human", QUESTION)]
    reply = memory.invoke(talk)
    assert (reply.content, reply.usage_metadata["total_tokens"]) == (CUT, 15)
    passed = endpoint.bodies[0]
    assert [turn["role"] for turn in passed["messages"]] == ["system", "user", "assistant", "user"]
    assert (passed["seed"], passed["temperature"], passed["max_tokens"], passed["stop"]) == (7, 0.2, 9, [" in "])
    pieces = list(memory.stream(talk))
    assert "".join(piece.content for piece in pieces) == CUT and len(pieces) > 2
    assert sum(piece.usage_metadata["total_tokens"] for piece in pieces if piece.usage_metadata) == 15
    assert asyncio.run(chat("memo").ainvoke(QUESTION)).content == ANSWER
    assert "".join(piece.content for piece in chat("memo").stream(QUESTION)) == ANSWER


def test_langchain_gets_what_a_schema_asks_for_and_errors_as_openai_s(chat: Any) -> None:
    grounding = {
        "title": "Questions",
        "description": "What to ask",
        "type": "object",
        "properties": {"questions": {"type": "array", "items": {"type": "string"}}},
        "required": ["questions"],
    }
    structured = chat("executive").with_structured_output(grounding, method="json_schema")
    assert structured.invoke(QUESTION) == SCRIPT["grounding"]
    with pytest.raises(openai.BadRequestError, match="tools: is not supported here"):
        chat("memory").bind_tools([grounding]).invoke(QUESTION)
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-5' here"):
        chat("gpt-5").invoke(QUESTION)


def curl(url: str, *more: str, key: str = KEY) -> str:
    """What curl prints, the status in the last line."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    always = ("-sN", "--noproxy", "*", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {key}")
    return subprocess.run(["curl", *always, *more, url], capture_output=True, text=True, timeout=60, check=True).stdout


def post(url: str, body: dict[str, Any], key: str = KEY) -> str:
    """curl as the documentation shows it."""
    return curl(url, "-H", "Content-Type: application/json", "-d", json.dumps(body), key=key)


def test_curl_asks_and_streams(served: ServedRun) -> None:
    body, _, status = post(f"{served.url}/v1/answers", {"question": QUESTION}).rpartition("\n")
    assert (status, json.loads(body)["answer"]) == ("200", ANSWER)
    body, _, status = curl(f"{served.url}/v1/models").rpartition("\n")
    assert (status, [row["id"] for row in json.loads(body)["data"]]) == ("200", ["memo", "memory", "executive"])
    asked = {"model": "memory", "messages": [LAST], "stream": True, **PLAIN}
    *lines, status = post(f"{served.url}/v1/chat/completions", asked).split("\n")
    data = [line.removeprefix("data: ") for line in lines if line]
    assert (status, data[-1]) == ("200", "[DONE]")
    chunks = [json.loads(one)["choices"][0]["delta"] for one in data[:-1]]
    assert "".join(delta.get("content", "") for delta in chunks) == CUT
    events = post(f"{served.url}/v1/answers", {"question": QUESTION, "stream": True})
    assert events.startswith("event: stage\n") and events.count("event: answer\n") == 1


def test_curl_sees_errors_in_openai_s_form(served: ServedRun) -> None:
    for body, key, wanted in (({"question": ""}, KEY, "400"), ({"question": QUESTION}, "wrong", "401")):
        told, _, status = post(f"{served.url}/v1/answers", body, key).rpartition("\n")
        assert status == wanted
        assert set(json.loads(told)["error"]) == {"message", "type", "param", "code"}
