"""A model's deployment class on its own, as a client of an endpoint: calls, stopping, and what cannot be swapped."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from memo_ray.config.models import OpenAIModel, VllmModel
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.models.chat import ChatRequest
from memo_ray.serving.deployments import ModelDeployment
from tests.ray.scripted_endpoint import RECALLED, Endpoint

pytestmark = pytest.mark.anyio
REQUEST = asdict(ChatRequest("r", ({"role": "user", "content": "Who?"},), temperature=0, max_tokens=9))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    scripted = Endpoint()
    scripted.start()
    yield scripted
    scripted.stop()


async def started(endpoint: Endpoint) -> Any:
    url = f"http://127.0.0.1:{endpoint.port}/v1"
    memory = ModelDeployment(
        OpenAIModel(engine="openai", base_url=url, model="remembers", max_retries=0), "serving.memory"
    )
    await memory.reconfigure({"weights": None})
    return memory


async def test_dictionaries_go_in_and_come_out(endpoint: Endpoint) -> None:
    memory = await started(endpoint)
    reply = await memory.chat(REQUEST)
    assert (reply["text"], reply["finish_reason"], reply["input_tokens"]) == (RECALLED, "stop", 10)
    *pieces, reply = [piece async for piece in memory.stream(REQUEST)]
    assert "".join(pieces) == RECALLED == reply["text"]
    await memory.check_health()
    await memory.__del__()
    with pytest.raises(ConfigError, match="no user_config"):
        await memory.chat(REQUEST)


async def test_several_requests_of_one_call_each_have_their_reply(endpoint: Endpoint) -> None:
    memory = await started(endpoint)
    came = {place: reply async for place, reply in memory.chats([REQUEST, REQUEST | {"request_id": "s"}])}
    assert sorted(came) == [0, 1] and {reply["text"] for reply in came.values()} == {RECALLED}
    await memory.stop()
    ((_, refused),) = [item async for item in memory.chats([REQUEST])]
    assert isinstance(refused, GenerationError) and str(refused) == "serving.memory: the server is stopping"
    await memory.__del__()


async def test_stopping_cancels_calls_and_takes_no_more(endpoint: Endpoint) -> None:
    memory = await started(endpoint)
    endpoint.delay_s, asked = 20, endpoint.asked["remembers"]
    call = asyncio.create_task(memory.chat(REQUEST))
    while endpoint.asked["remembers"] == asked:
        await asyncio.sleep(0.01)
    await memory.stop()
    with pytest.raises(asyncio.CancelledError):
        await call
    endpoint.delay_s = 0
    with pytest.raises(GenerationError, match=r"^serving\.memory: the server is stopping"):
        await memory.chat(REQUEST)
    await memory.__del__()


async def test_what_cannot_be_loaded_is_a_config_error(endpoint: Endpoint, tmp_path: Path) -> None:
    memory = await started(endpoint)
    with pytest.raises(ConfigError, match=r"^serving\.memory: an endpoint's weights cannot be swapped from here"):
        await memory.reconfigure({"weights": str(tmp_path)})
    assert (await memory.chat(REQUEST))["text"] == RECALLED
    await memory.__del__()
    engine = ModelDeployment(VllmModel(engine="vllm"), "serving.memory")
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        await engine.reconfigure({"weights": str(tmp_path)})
