"""Malformed and hostile requests: each gets an answer in OpenAI's form, none ends in a 500, none reaches a model."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from memo_ray.citations.files import LedgerFiles
from memo_ray.serving.ledger import LedgerDeployment
from tests.unit.serving.test_gateway import Echo, chat, client_of
from tests.unit.serving.test_ledger import files

__all__ = ["files"]

pytestmark = pytest.mark.anyio

REQUESTS = 10_000

VALID: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/answers", {"question": "Who?", "stream": False}),
    ("/v1/chat/completions", chat("memory", temperature=0.5, max_tokens=3, seed=1, top_p=0.9)),
    ("/v1/chat/completions", chat("memo", stream=True, stream_options={"include_usage": True})),
    (
        "/v1/chat/completions",
        chat("memory", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {}}}),
    ),
)
ODD: tuple[Any, ...] = (
    None, True, -1, 0, 2**70, 1e308, "", " ", "\x00", "\ud800", "é" * 50, [], [[]], {}, {"a": {}}, [None], "memo",
    "true", {"role": "user"}, [{"type": "image_url"}], float("nan"), float("inf"),
)  # fmt: skip


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def mutated(value: Any, chance: random.Random) -> Any:
    """`value` with something in it replaced, left out or added."""
    if isinstance(value, dict) and value and chance.random() < 0.8:
        name = chance.choice([*value, "unheard_of"])
        kept = dict(value)
        how = chance.random()
        if how < 0.2:
            kept.pop(name, None)
        elif how < 0.6:
            kept[name] = chance.choice(ODD)
        else:
            kept[name] = mutated(kept.get(name), chance)
        return kept
    if isinstance(value, list) and value and chance.random() < 0.8:
        return [mutated(item, chance) for item in value] * chance.choice([1, 1, 2])
    return chance.choice(ODD)


def body_of(fields: dict[str, Any], chance: random.Random) -> bytes:
    """A body in which something is wrong, mostly still JSON."""
    raw = json.dumps(mutated(fields, chance)).encode()
    how = chance.random()
    if how < 0.6:
        return raw
    if how < 0.75:
        return raw[: chance.randrange(len(raw) + 1)]
    if how < 0.9:
        place = chance.randrange(len(raw) + 1)
        return raw[:place] + chance.randbytes(chance.randint(1, 4)) + raw[place:]
    return chance.choice([b"[" * 900, b"\xef\xbb\xbf" + raw, b"1" * 900, raw * 9, chance.randbytes(40)])


QUERIES: dict[str, list[Any]] = {
    "model": ["memo", "memory", "memory/law", "executive", "memo/", "*", "\x00"],
    "document_id": ["d1", "../d1", "é" * 300, "\udc80", ""],
    "start": [0, -1, 2**31, 2**70, "1e3", "0x1", "NaN", " 1 "],
    "end": [9, -9, 2**63, "", "١"],
    "around": [0, 10**5, 1.5, "true"],
    "offset": [0, 10**9, -1, "[]"],
    "limit": [1, 0, 201, "1_0", None],
    "contains": ["", "%", "\\", "a" * 500, "\u202e"],
    "sort": ["corpus", "recall", "__class__"],
    "unheard_of": [1],
}


async def test_no_query_ends_in_a_500_either(files: LedgerFiles) -> None:
    echo, chance = Echo(), random.Random(1)
    echo.ledger = LedgerDeployment([files], None)
    http = client_of(echo)
    seen: Counter[int] = Counter()
    for _ in range(REQUESTS // 5):
        names = chance.sample(sorted(QUERIES), chance.randint(0, 5))
        query = "&".join(f"{name}={quote(str(chance.choice(QUERIES[name])), errors='replace')}" for name in names)
        path = chance.choice(["documents", "reflections", "spans"])
        address = f"/v1/{path}?{query}{chance.choice(['', '', '&' + names[0] + '=1' if names else '', '&%ff=%00'])}"
        response = await asyncio.wait_for(http.get(address), 20)
        seen[response.status_code] += 1
        assert response.status_code in {200, 400, 404}, (response.status_code, address)
        if response.status_code != 200:
            assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert seen[200] > 50 and seen[400] > REQUESTS / 10


async def test_no_request_ends_in_a_500() -> None:
    echo, chance = Echo(), random.Random(0)
    http = client_of(echo)
    seen: Counter[int] = Counter()

    async def one(path: str, body: bytes) -> None:
        response: httpx.Response = await asyncio.wait_for(http.post(path, content=body), 20)
        seen[response.status_code] += 1
        assert response.status_code in {200, 400, 404, 413}, (response.status_code, path, body)
        if response.status_code != 200:
            assert set(response.json()["error"]) == {"message", "type", "param", "code"}

    for _ in range(REQUESTS):
        path, fields = chance.choice(VALID)
        await one(path, body_of(fields, chance))
    assert seen.total() == REQUESTS and seen[400] > REQUESTS / 2
    assert len(echo.requests) <= seen[200]
    for path, fields in VALID:
        assert (await http.post(path, json=fields)).status_code == 200
