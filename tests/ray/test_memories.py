"""Several registered memories behind one gateway on real engines: names, scopes, hot swaps and shared LoRA engines."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from memo_ray.artifacts.place import open_place
from memo_ray.artifacts.registry import Entry, Lineage, Registry
from memo_ray.cli import main
from memo_ray.config.models import OpenAIModel, VllmModel
from memo_ray.config.protocol import ProtocolConfig
from memo_ray.config.serving import ServingConfig
from memo_ray.config.training import LoraConfig
from memo_ray.console import Console
from memo_ray.continual import registering
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.models.sources import resolve
from memo_ray.results import last_epoch, stored_results
from memo_ray.serving.client import swap
from memo_ray.serving.keys import Key, digest_of
from memo_ray.serving.ray_serving import ServedRun, deploy
from memo_ray.workspace import open_run
from tests.e2e.test_continual import make_run
from tests.local_cluster import local_cluster
from tests.ray.scripted_endpoint import QUESTION, Endpoint, free_port

pytestmark = pytest.mark.slow

ADMIN, TENANT = "key of the operator", "key of a tenant"
ENGINE = VllmModel(engine="vllm", max_model_len=512, max_num_seqs=4, kv_cache_gb=0.1, enforce_eager=True)


@pytest.fixture(scope="module")
def cluster(s3_server: str) -> Iterator[None]:
    """Room for three small engines; they share the machine's cores."""
    with local_cluster(num_cpus=4):
        yield


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    scripted = Endpoint()
    scripted.start()
    yield scripted
    scripted.stop()


def other(model: Path, folder: Path, shift: int) -> None:
    """The tiny model with its vocabulary moved on by `shift`: the same architecture, other replies."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(model, folder)
    for file in folder.glob("*.safetensors"):
        tensors = {n: t.roll(shift, 0).clone() if "embed" in n else t for n, t in load_file(file).items()}
        save_file(tensors, file, metadata={"format": "pt"})


def register(run: Path, name: str, path: str, base: Path, **fields: Any) -> str:
    entry = Entry(
        name=name, path=path, artifact=path, base=str(base), base_digest=resolve(str(base)).digest, corpora=(name,),
        lineage=Lineage(done="trained"), **fields,
    )  # fmt: skip
    return Registry(open_place(run)).add(entry).reference


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path) -> Path:
    """A run whose registry has law@1 and wiki@1, and the folder of a law@2."""
    for shift, path in enumerate(("law-1", "law-2", "wiki-1")):
        other(tiny_model, tmp_path / "artifacts" / path, shift)
    register(tmp_path, "law", "artifacts/law-1", tiny_model)
    register(tmp_path, "wiki", "artifacts/wiki-1", tiny_model)
    return tmp_path


@contextmanager
def serving(run: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Iterator[ServedRun]:
    monkeypatch.setenv("MEMO_TEST_KEY", ADMIN)
    keys = run / "keys.yaml"
    tenant = Key(name="tenant", sha256=digest_of(TENANT), models=("memo/law", "memory/law"))
    keys.write_text(yaml.safe_dump({"keys": [tenant.model_dump(exclude_none=True, mode="json")]}))
    executive = OpenAIModel(engine="openai", base_url=f"http://127.0.0.1:{endpoint.port}/v1", model="decides")
    config = ServingConfig(
        port=free_port(), accelerator="cpu", memory=ENGINE, executive=executive, registry_poll_s=0.5,
        protocol=ProtocolConfig(memory_max_tokens=8), api_key_env="MEMO_TEST_KEY",
        keys_file=str(keys), drain_timeout_s=5.0, **changes,
    )  # fmt: skip
    with deploy(config, None, None, run=str(run), wait_s=300) as served:
        yield served
    wait_until(lambda: not engines(), 10)


def engines() -> set[int]:
    family = psutil.Process().children(recursive=True)
    return {process.pid for process in family if process.name().startswith("VLLM::Engine")}


def wait_until(condition: Callable[[], Any], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.2)


class Client(httpx.Client):
    def __init__(self, served: ServedRun, key: str) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        super().__init__(base_url=served.url, headers=headers, timeout=120, trust_env=False)

    def models(self) -> list[str]:
        return [row["id"] for row in self.get("/v1/models").json()["data"]]

    def ask(self, model: str) -> httpx.Response:
        messages = [{"role": "user", "content": "Who kept the lighthouse?"}]
        return self.post("/v1/chat/completions", json={"model": model, "messages": messages, "max_tokens": 6})

    def reply(self, model: str) -> str:
        response = self.ask(model)
        assert response.status_code == 200, response.text
        return response.json()["choices"][0]["message"]["content"]

    def row(self, entry: str) -> dict[str, Any]:
        return next(row for row in self.get("/admin/memories").json()["memories"] if row["entry"] == entry)


@contextmanager
def asked_all_the_time(served: ServedRun, model: str, pause_s: float = 0) -> Iterator[list[tuple[int, str]]]:
    """Four clients who ask one question after another; what they got, in the order in which it came."""
    came: list[tuple[int, str]] = []
    stop = threading.Event()

    def ask() -> None:
        with Client(served, ADMIN) as client:
            while not stop.is_set():
                response = client.ask(model)
                said = response.json()["choices"][0]["message"]["content"] if response.status_code == 200 else ""
                came.append((response.status_code, said))
                stop.wait(pause_s)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(came) >= 8, 120)
        yield came
        seen = len(came)
        wait_until(lambda: len(came) >= seen + 16, 120)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def assert_old_then_new(came: list[tuple[int, str]], old: str, new: str) -> None:
    """Nothing failed; every reply is one of the two; and once the new one was there, at most those in hand were old."""
    assert {status for status, _ in came} == {200}
    said = [text for _, text in came]
    assert set(said) == {old, new}
    assert said[:8] == [old] * 8 and said[-8:] == [new] * 8
    assert said[said.index(new) :].count(old) <= 3


def test_memories_by_name_scope_and_version_are_swapped_under_load(
    cluster: None, run: Path, tiny_model: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(run, endpoint, monkeypatch, memories=("law", "wiki@1")) as served:
        admin, tenant = Client(served, ADMIN), Client(served, TENANT)
        law = [f"{kind}/{memory}" for memory in ("law", "law@1") for kind in ("memo", "memory")]
        wiki = [name.replace("law", "wiki") for name in law]
        assert admin.models() == ["memo", "memory", *law, *wiki]
        assert tenant.models() == law
        forbidden, unknown = tenant.ask("memory/wiki"), tenant.ask("memory/nono")
        assert (forbidden.status_code, forbidden.text) == (404, unknown.text.replace("nono", "wiki"))
        assert tenant.get("/admin/memories").status_code == 404

        first = admin.reply("memory/law")
        assert admin.reply("memory") == first == tenant.reply("memory/law@1") != admin.reply("memory/wiki")
        answered = admin.post("/v1/answers", json={"model": "memo/wiki", "question": QUESTION}).json()
        assert answered["memories"] == ["wiki@1"] and answered["answer"]

        before = engines()
        with asked_all_the_time(served, "memory/law") as came:
            assert register(run, "law", "artifacts/law-2", tiny_model) == "law@2"
            wait_until(lambda: admin.row("law")["serves"] == "law@2" and not admin.row("law")["draining"], 300)
        second = admin.reply("memory/law@2")
        assert_old_then_new(came, first, second)
        wait_until(lambda: len(engines()) == 2, 20)
        assert len(engines() & before) == 1
        assert admin.ask("memory/law@1").status_code == 404
        assert admin.post("/v1/answers", json={"question": QUESTION}).json()["memories"] == ["law@2"]

        (run / "artifacts/broken").mkdir()
        register(run, "law", "artifacts/broken", tiny_model)
        wait_until(lambda: admin.row("law")["failed"] == "law@3", 60)
        assert "holds no config.json" in admin.row("law")["error"]
        assert admin.reply("memory/law") == second
        with pytest.raises(ConfigError, match="there is no such version"):
            swap(served.url, "law@9", ADMIN)
        with pytest.raises(GenerationError, match=r"holds no config\.json"):
            swap(served.url, "law@3", ADMIN)

        registry = Registry(open_place(run))
        registry.withdraw("law", 3)
        registry.withdraw("law", 2)
        wait_until(lambda: admin.row("law")["serves"] == "law@1", 300)
        assert admin.reply("memory/law") == first
        registry.withdraw("wiki", 1)
        wait_until(lambda: "memory/wiki" not in admin.models(), 30)
        wait_until(lambda: len(engines()) == 1, 30)


def test_a_version_loaded_in_place_keeps_the_engine_and_starts_none_beside_it(
    cluster: None, run: Path, tiny_model: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(run, endpoint, monkeypatch, memories=("law",), swap="in_place") as served:
        admin = Client(served, ADMIN)
        first, engine = admin.reply("memory"), engines()
        with asked_all_the_time(served, "memory") as came:
            register(run, "law", "artifacts/law-2", tiny_model)
            wait_until(lambda: admin.row("law")["serves"] == "law@2", 120)
        second = admin.reply("memory")
        assert_old_then_new(came, first, second)
        assert engines() == engine
        swap(served.url, "law@1", ADMIN)
        assert (admin.reply("memory"), engines()) == (first, engine)


@pytest.mark.timeout(1200)
def test_a_corpus_that_is_added_reaches_a_gateway_that_serves_and_no_request_fails(
    cluster: None, tiny_model: Path, tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    make_run(tmp_path, tiny_model)
    run = tmp_path / "runs" / "isles"
    alone = open_run(str(run), Console(quiet=True))
    registering.register(alone, stored_results(alone), epoch=last_epoch(alone))
    with serving(run, endpoint, monkeypatch, memories=("isles",)) as served:
        admin = Client(served, ADMIN)
        old = admin.reply("memory/isles@1")
        with asked_all_the_time(served, "memory/isles", pause_s=1.0) as came:
            assert main(["add", str(run), str(tmp_path / "figs.yaml"), "--recipe", "linear", "--json"]) == 0
            wait_until(lambda: admin.row("isles")["serves"] == "isles@2" and not admin.row("isles")["draining"], 300)
        assert json.loads(capsys.readouterr().out)["memory"]["version"] == 2
        assert {status for status, _ in came} == {200}
        assert {said for _, said in came} == {old, admin.reply("memory/isles@2")}
        assert admin.post("/v1/answers", json={"question": QUESTION}).json()["memories"] == ["isles@2"]


def adapter(base: Path, folder: Path, seed: int) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from memo_ray.training.lora import adapt, adapter_state, save_adapter

    model = adapt(AutoModelForCausalLM.from_pretrained(base), LoraConfig(rank=8, alpha=16.0), seed, str(base))
    torch.manual_seed(seed)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=1.0)
    save_adapter(model, folder / "adapter", adapter_state(model))


def test_lora_memories_of_one_base_share_an_engine_beside_each_other(
    cluster: None, tiny_model: Path, tmp_path: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, path in enumerate(("law-1", "law-2", "wiki-1"), 1):
        adapter(tiny_model, tmp_path / "artifacts" / path, seed)
    for name in ("law", "wiki"):
        register(tmp_path, name, f"artifacts/{name}-1", tiny_model, kind="lora")
    with serving(tmp_path, endpoint, monkeypatch, memories=("law", "wiki")) as served:
        admin = Client(served, ADMIN)
        engine = engines()
        assert len(engine) == 1
        first, wiki = admin.reply("memory/law"), admin.reply("memory/wiki")
        assert first != wiki
        with asked_all_the_time(served, "memory/law") as came:
            register(tmp_path, "law", "artifacts/law-2", tiny_model, kind="lora")
            wait_until(lambda: admin.row("law")["serves"] == "law@2", 120)
        assert_old_then_new(came, first, admin.reply("memory/law"))
        assert (engines(), admin.reply("memory/wiki")) == (engine, wiki)
