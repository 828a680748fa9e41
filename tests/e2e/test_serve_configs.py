"""The Serve config of the smallest size, deployed as it is shipped, but for its port."""

from __future__ import annotations

import time
from pathlib import Path

import openai
import psutil
import pytest
import yaml
from ray import serve
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema
from transformers import AutoTokenizer

from memo_ray.serving.client import ask, healthy
from tests.ray.scripted_endpoint import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


def test_the_laptop_s_config_answers(ray_cluster: None, embedded_model: Path) -> None:
    config = yaml.safe_load((ROOT / "serve_configs/laptop.yaml").read_text())
    port = config["http_options"]["port"] = free_port()
    url = f"http://127.0.0.1:{port}"
    serve.start(proxy_location=config["proxy_location"], http_options=config["http_options"])
    try:
        controller = _get_global_client()
        assert controller is not None
        controller.deploy_apps(ServeDeploySchema.model_validate(config))
        end = time.monotonic() + 240
        while not healthy(url):
            assert time.monotonic() < end, serve.status()
            time.sleep(0.5)
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        assert [model.id for model in client.models.list()] == ["memo", "memory"]
        message = {"role": "user", "content": "What is the capital of France?"}
        # What a small model says hangs on the last bit of bf16, so it is asked twice and its words are not looked at.
        first, again = (
            client.chat.completions.create(
                model="memory",
                messages=[message],  # type: ignore[list-item]
                max_tokens=12,
                temperature=0,
            )
            for _ in range(2)
        )
        assert first.choices[0].message.content
        assert first.choices[0].message.content == again.choices[0].message.content
        prompt = AutoTokenizer.from_pretrained(str(embedded_model)).apply_chat_template(
            [message], add_generation_prompt=True, return_dict=False
        )
        assert first.usage is not None and first.usage.prompt_tokens == len(prompt), "the bare question was asked"
        answer = ask(url, "What is the capital of France?")
        assert answer["answer"] and answer["memories"] == []
    finally:
        serve.shutdown()
    family = psutil.Process().children(recursive=True)
    assert not [process for process in family if process.name().startswith("VLLM::Engine")]
