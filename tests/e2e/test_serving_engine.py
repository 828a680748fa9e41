"""Two real vLLM engines behind the gateway: answers, callers who leave, swapped weights, and nothing left after."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
from ray import serve

from memo_ray.config.models import VllmModel
from memo_ray.config.protocol import ProtocolConfig, StageSettings
from memo_ray.config.serving import ServingConfig
from memo_ray.protocol.protocol import replay
from memo_ray.serving.client import ask
from memo_ray.serving.ray_serving import ServedRun, deploy
from tests.browser.chromium import browser
from tests.browser.scripted_gateway import tables

PORT = 18473
ONCE = StageSettings(budget=1, executive_temperature=0.4, memory_temperature=0.0)


def engine(max_model_len: int, max_num_seqs: int) -> VllmModel:
    return VllmModel(
        engine="vllm", max_model_len=max_model_len, max_num_seqs=max_num_seqs, kv_cache_gb=0.25, enforce_eager=True
    )


CONFIG = ServingConfig(
    port=PORT,
    accelerator="cpu",
    memory=engine(512, 1),
    executive=engine(4096, 4),
    protocol=ProtocolConfig(
        grounding=ONCE, identification=ONCE, answering=ONCE, executive_max_tokens=384, memory_max_tokens=24,
        max_sub_questions=2,
    ),
    drain_timeout_s=10.0,
)  # fmt: skip


def engines() -> list[psutil.Process]:
    """vLLM's own processes below this test's."""
    below = psutil.Process().children(recursive=True)
    return [process for process in below if "EngineCore" in name_of(process)]


def name_of(process: psutil.Process) -> str:
    try:
        return " ".join([process.name(), *process.cmdline()])
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return ""


@pytest.fixture(scope="module")
def other_weights(embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model with its last layers' weights zeroed: the same architecture, other replies."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("other") / "model"
    shutil.copytree(embedded_model, folder)
    for file in folder.glob("*.safetensors"):
        tensors = load_file(file)
        changed = {k: v * 0 if ".layers.2" in k and "down_proj" in k else v for k, v in tensors.items()}
        save_file(changed, file, metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def served(ray_cluster: None, embedded_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedRun]:
    ledgers = (tables(tmp_path_factory.mktemp("tables")),)
    with deploy(CONFIG, str(embedded_model), str(embedded_model), ledgers=ledgers, wait_s=240) as run:
        assert len(engines()) == 2
        yield run
    wait_until(lambda: not engines(), 5, "an engine outlived close()")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{run.url}/healthz", trust_env=False)
    names = [name_of(process) for process in psutil.Process().children(recursive=True)]
    assert not [name for name in names if "Serve" in name and "IDLE" not in name]


def wait_until(condition: Callable[[], bool], seconds: float, failure: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, failure
        time.sleep(0.1)


def test_a_question_goes_through_the_whole_protocol(served: ServedRun) -> None:
    kinds: list[str] = []
    answer = ask(served.url, "What is the capital of France?", on_event=lambda event: kinds.append(event["kind"]))
    assert answer["answer"]
    assert kinds[0] == "stage" and kinds[-1] == "final"
    assert replay(answer["transcript"]).answer == answer["answer"]
    assert answer["stages"][0]["stage"] == "grounding"
    assert answer["usage"]["executive"]["output_tokens"] > 0
    assert answer["seconds"] > 0


def test_the_console_shows_it_in_a_browser(served: ServedRun) -> None:
    with browser() as chromium:
        page = chromium.new_page()
        page.set_default_timeout(120_000)
        page.goto(served.url)
        page.wait_for_selector("#model option", state="attached")
        page.fill("#question", "Who kept a tame heron?")
        page.keyboard.press("Enter")
        page.wait_for_selector(".status:has-text('Stage 1: grounding')")
        page.wait_for_selector(".answer .answer-text")
        assert page.locator(".stages details").first.inner_text().startswith("Stage 1: grounding")
        assert page.locator(".run .status").inner_text().startswith("Answered in")
        page.get_by_role("link", name="Documents").click()
        page.get_by_role("button", name="The chronicle of Port Amber").click()
        page.locator(".pairs .place").first.click()
        page.wait_for_selector("#source mark")


def test_the_memory_alone_says_the_same_streamed_or_whole(served: ServedRun) -> None:
    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
    asked: dict[str, Any] = {
        "model": "memory",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
    }
    whole = client.chat.completions.create(**asked, max_tokens=12)
    text = whole.choices[0].message.content
    assert text
    assert whole.usage and whole.usage.prompt_tokens > 10 and 0 < whole.usage.completion_tokens <= 12
    pieces = [
        piece.choices[0].delta.content or ""
        for piece in client.chat.completions.create(**asked, max_tokens=12, stream=True)
    ]
    assert len(pieces) > 4
    assert "".join(pieces).strip() == text
    second = text.split()[1]
    stopped = client.chat.completions.create(**asked, max_tokens=12, stop=[second]).choices[0]
    assert stopped.message.content == text[: text.index(second)].strip() and stopped.finish_reason == "stop"
    city = schema_of({"city": {"type": "string", "maxLength": 12}})
    formed = client.chat.completions.create(**asked, response_format=city)
    assert (formed.choices[0].message.content or "").startswith('{"city":')


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_leaves_frees_the_engine(served: ServedRun, stream: bool) -> None:
    url = f"{served.url}/v1/chat/completions"
    # A text of at least 1,500 characters, so that the reply takes its 450 tokens: some ten seconds.
    schema = schema_of({"text": {"type": "string", "minLength": 1500}})
    ask_model = {"model": "memory", "messages": [{"role": "user", "content": "Tell a story."}]}
    body = {**ask_model, "max_tokens": 450, "response_format": schema, "stream": stream}
    if stream:
        with httpx.stream("POST", url, json=body, timeout=30, trust_env=False) as response:
            next(response.iter_lines())
    else:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url, json=body, timeout=1, trust_env=False)
    began = time.monotonic()
    assert httpx.post(url, json={**ask_model, "max_tokens": 1}, timeout=60, trust_env=False).status_code == 200
    # The memory's engine works on one request at a time.
    assert time.monotonic() - began < 4


def schema_of(properties: dict[str, Any]) -> Any:
    """`properties` as a response_format."""
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema}}


def test_swapped_weights_answer_and_swapped_back_as_before(
    served: ServedRun, embedded_model: Path, other_weights: Path
) -> None:
    body = {
        "model": "memory",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "max_tokens": 8,
    }

    def reply() -> str:
        done = httpx.post(f"{served.url}/v1/chat/completions", json=body, timeout=60, trust_env=False).json()
        return done["choices"][0]["message"]["content"]

    memory: Any = serve.get_deployment_handle("memory", "memo")
    before = reply()
    memory.broadcast("reload", str(other_weights)).results()
    assert reply() != before
    memory.broadcast("reload", str(embedded_model)).results()
    assert reply() == before
