"""Requests: what is read, what is ignored, what is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memo_ray.serving.openai_api import ApiError
from memo_ray.serving.openai_requests import ChatAsked, parse_answer, parse_chat

KNOWN = ("memo", "memory")
USER = {"role": "user", "content": "Who sailed?"}


def parse(**fields: Any) -> ChatAsked:
    return parse_chat(json.dumps({"model": "memory", "messages": [USER], **fields}).encode(), KNOWN)


def test_a_plain_request_leaves_the_choices_to_the_server() -> None:
    asked = parse()
    assert asked.messages == (USER,)
    assert (asked.temperature, asked.top_p, asked.max_tokens, asked.seed, asked.schema) == (None,) * 5
    assert (asked.stream, asked.include_usage) == (False, False)


def test_what_is_honoured_arrives() -> None:
    asked = parse(
        temperature=0, top_p=0.5, max_completion_tokens=9, max_tokens=5, seed=3, stream=True,
        stream_options={"include_usage": True},
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    )  # fmt: skip
    assert (asked.temperature, asked.top_p, asked.max_tokens, asked.seed) == (0, 0.5, 9, 3)
    assert asked.schema == {"type": "object"}
    assert asked.stream and asked.include_usage


@pytest.mark.parametrize(("sent", "read"), [(".", (".",)), (["a", "b"], ("a", "b")), ([], ()), (None, ())])
def test_stop_is_a_text_or_a_list(sent: Any, read: tuple[str, ...]) -> None:
    assert parse(stop=sent).stop == read


def test_a_whole_number_may_have_a_decimal_point() -> None:
    asked = parse(max_tokens=3.0, seed=-1.0, n=1.0)
    assert (asked.max_tokens, asked.seed) == (3, -1)
    assert isinstance(asked.max_tokens, int) and isinstance(asked.seed, int)


HARMLESS: list[dict[str, Any]] = [
    {"user": "someone", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "parallel_tool_calls": True},
    {"n": 1, "stop": None, "logprobs": False, "tools": [], "tool_choice": "auto", "presence_penalty": 0.0},
    {"response_format": {"type": "text"}, "logit_bias": {}, "modalities": ["text"], "max_tokens": None},
]


@pytest.mark.parametrize("fields", HARMLESS)
def test_fields_that_change_nothing_are_ignored(fields: dict[str, Any]) -> None:
    assert parse(**fields) == parse()


def test_messages_come_as_clients_send_them_back() -> None:
    turns = [
        {"role": "developer", "content": [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]},
        USER,
        {"role": "assistant", "content": "Nobody.", "refusal": None, "tool_calls": None, "annotations": []},
        {"role": "user", "content": " Really? ", "name": "eve"},
    ]
    asked = parse(messages=turns)
    assert [turn["role"] for turn in asked.messages] == ["system", "user", "assistant", "user"]
    assert asked.messages[0]["content"] == "Be brief."
    assert asked.question() == "Really?"


BAD: list[tuple[dict[str, Any], str, str | None]] = [
    ({"n": 2}, "n: is not supported here", "n"),
    ({"n": True}, "n: is not supported here", "n"),
    ({"logprobs": 0}, "logprobs: is not supported here", "logprobs"),
    ({"max_tokens": 3.5}, "max_tokens: ", "max_tokens"),
    ({"max_tokens": float("inf")}, "max_tokens: ", "max_tokens"),
    ({"max_tokens": 1e300}, "max_tokens: ", "max_tokens"),
    ({"seed": True}, "seed: ", "seed"),
    ({"stop": [""]}, "stop", "stop"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "stop"),
    ({"stop": 1}, "stop", "stop"),
    ({"tools": [{"type": "function"}]}, "tools: is not supported here", "tools"),
    ({"logprobs": True}, "logprobs: is not supported here", "logprobs"),
    ({"temprature": 1}, "temprature: unknown field; leave it out", "temprature"),
    ({"temperature": 3}, "temperature: Input should be less than or equal to 2", "temperature"),
    ({"temperature": float("nan")}, "temperature: ", "temperature"),
    ({"temperature": "hot"}, "temperature: Input should be a valid number", "temperature"),
    ({"max_tokens": 0}, "max_tokens: ", "max_tokens"),
    ({"stream": "yes"}, "stream: Input should be a valid boolean", "stream"),
    ({"messages": []}, "messages: List should have at least 1 item", "messages"),
    ({"messages": "hi"}, "messages: Input should be a valid list", "messages"),
    ({"messages": [1]}, "messages.0: ", "messages"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role: ", "messages"),
    ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages.0.tool_calls: is not supported", "messages"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        "messages.0.content: must be text, or a list of parts of type text",
        "messages",
    ),
    ({"messages": [{"role": "user", "content": "\ud800"}]}, "the body is not valid JSON in UTF-8 (", None),
    ({"response_format": {"type": "json_object"}}, "response_format.type: ", "response_format"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema: is required", "response_format"),
]


@pytest.mark.parametrize(("fields", "message", "param"), BAD, ids=[message[:40] for _, message, _ in BAD])
def test_what_would_change_the_reply_is_refused_by_name(fields: dict[str, Any], message: str, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse(**fields)
    assert caught.value.status == 400
    assert caught.value.message.startswith(message)
    assert caught.value.body()["error"] == {
        "message": caught.value.message, "type": "invalid_request_error", "param": param, "code": None,
    }  # fmt: skip


def test_an_unknown_model_lists_the_known_ones() -> None:
    with pytest.raises(ApiError, match="there is no model 'gpt-5' here; known models: memo, memory") as caught:
        parse(model="gpt-5")
    assert (caught.value.status, caught.value.code, caught.value.param) == (404, "model_not_found", "model")


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"x"', b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    for parser in (lambda raw: parse_answer(raw, KNOWN), lambda raw: parse_chat(raw, KNOWN)):
        with pytest.raises(ApiError) as caught:
            parser(body)
        assert caught.value.status == 400


def test_memo_needs_a_user_message_with_text() -> None:
    with pytest.raises(ApiError, match="messages: needs a user message with text"):
        parse(messages=[{"role": "system", "content": "x"}, {"role": "user", "content": " \x84 "}]).question()


def test_answers_take_a_question_and_nothing_else() -> None:
    assert parse_answer(b'{"question": " Who? ", "stream": true}', KNOWN).question == "Who?"
    assert parse_answer(b'{"question": "Who?", "stream": null}', KNOWN).stream is False
    for body in (
        b"{}",
        b'{"question": ""}',
        b'{"question": "  "}',
        b'{"question": "\\u0084"}',
        b'{"question": 1}',
        b'{"question": "a", "model": "b"}',
    ):
        with pytest.raises(ApiError):
            parse_answer(body, KNOWN)
