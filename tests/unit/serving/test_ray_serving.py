"""What the application is built from: shipped configs, resources, the key, the port, and reasons of failures."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from ray.serve import Application
from ray.serve.schema import ServeDeploySchema

from memo_ray.citations.files import LedgerFiles
from memo_ray.config.models import OpenAIModel, VllmModel
from memo_ray.config.protocol import HybridSettings, ProtocolConfig
from memo_ray.config.serving import ReplicaSettings, ServingConfig
from memo_ray.errors import ConfigError, EnvironmentProblem, GenerationError
from memo_ray.serving.application import build_app, gateway_settings
from memo_ray.serving.ray_serving import AppArguments, app, claim_port, url_of
from memo_ray.serving.status import reason_of

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = sorted((ROOT / "serve_configs").glob("*.yaml"))
SIZES = ("external_executive", "laptop", "many_gpus", "many_memories", "one_gpu")


def deployments_of(application: Application) -> dict[str, Any]:
    """Every deployment below an application by name, found through the arguments of `bind`."""
    bound = application._bound_deployment  # type: ignore[attr-defined]
    found = {bound.name: bound}
    for argument in bound.init_args:
        for value in argument.values() if isinstance(argument, dict) else [argument]:
            if isinstance(value, Application):
                found |= deployments_of(value)
    return found


def cpus_of(application: Application) -> float:
    return sum(d.ray_actor_options["num_cpus"] * (d.num_replicas or 1) for d in deployments_of(application).values())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_serve_config_is_valid_and_builds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuple(path.stem for path in CONFIGS) == SIZES
    monkeypatch.setenv("MEMO_API_KEY", "secret")
    schema = ServeDeploySchema.model_validate(yaml.safe_load(path.read_text()))
    (application,) = schema.applications
    assert (application.name, application.import_path) == ("memo", "memo_ray.serving.ray_serving:app")
    arguments = AppArguments.model_validate_json(json.dumps(application.args))
    # A Serve config listens where its http_options say.
    assert not arguments.serving.model_fields_set & {"host", "port"}
    built = app(application.args)  # as Serve gives them
    memory = "memories" if arguments.serving.memories else "memory"
    assert set(deployments_of(built)) == {"gateway", "protocol", memory, "executive"}
    # What stands commented out at the end is right too.
    commented = path.read_text().partition("    # deployments:")[2]
    uncommented = yaml.safe_load("".join(line.replace("    # ", "", 1) for line in commented.splitlines(True)))
    for change in uncommented or ():
        assert set(change["user_config"]) == set(deployments_of(built)[change["name"]].user_config)


def test_the_sizes_are_what_the_comments_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMO_API_KEY", "secret")
    laptop, one, cluster, many = (
        app(yaml.safe_load((ROOT / "serve_configs" / f"{name}.yaml").read_text())["applications"][0]["args"])
        for name in ("laptop", "one_gpu", "many_gpus", "many_memories")
    )
    assert cpus_of(laptop) == pytest.approx(1.7)
    assert gpus_of_all(one) == pytest.approx(0.85)
    found = deployments_of(cluster)
    assert found["memory"].ray_actor_options["num_gpus"] == 1
    assert found["executive"].ray_actor_options["num_gpus"] == 2
    follows = found["memory"]._deployment_config.autoscaling_config
    assert (follows.max_replicas, follows.upscale_delay_s, follows.downscale_delay_s) == (4, 30, 600)
    assert found["memory"].user_config == {"weights": "/models/memory"}
    assert found["executive"].user_config == {"weights": None}
    assert deployments_of(many)["memories"].user_config == {"memories": ["law", "wiki@3", "acme-handbook"]}


def gpus_of_all(application: Application) -> float:
    return sum(d.ray_actor_options.get("num_gpus", 0) for d in deployments_of(application).values())


def test_clients_of_endpoints_need_next_to_nothing() -> None:
    endpoint = OpenAIModel(engine="openai", base_url="http://localhost:1/v1", model="m")
    both = build_app(ServingConfig(memory=endpoint, executive=endpoint), None, None)
    assert cpus_of(both) == pytest.approx(0.4)
    enforced = deployments_of(both)["protocol"].init_args[3]
    assert enforced is True
    loose = endpoint.model_copy(update={"structured_outputs": False})
    built = build_app(ServingConfig(memory=endpoint, executive=loose), None, None)
    assert deployments_of(built)["protocol"].init_args[3] is False


def test_the_ledger_is_deployed_where_its_tables_are_named() -> None:
    endpoint = OpenAIModel(engine="openai", base_url="http://localhost:1/v1", model="m")
    settings = ServingConfig(memory=endpoint, executive=endpoint)
    tables = LedgerFiles(reflections="/r", ledger="/l", chunks="/c")
    found = deployments_of(build_app(settings, None, None, (tables,)))
    assert found["ledger"].init_args == ((tables,), None, "")
    assert found["protocol"].init_args[4] is not None
    assert cpus_of(build_app(settings, None, None, (tables,))) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("protocol", "named"),
    [(ProtocolConfig(hybrid=HybridSettings()), r"protocol\.hybrid"), (ProtocolConfig(memories=("law",)), "memories")],
)
def test_options_without_what_they_need_are_refused(protocol: ProtocolConfig, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        build_app(ServingConfig(protocol=protocol), None, None)


def test_registered_memories_need_a_registry_and_are_the_only_ones() -> None:
    settings = ServingConfig(accelerator="cpu", memories=("law", "wiki@2"), routing="likeliest")
    with pytest.raises(ConfigError, match=r"^serving\.memories: needs the run"):
        build_app(settings, None, None)
    found = deployments_of(build_app(settings, None, "/e", run="/runs/all"))
    assert set(found) == {"gateway", "protocol", "memories", "executive"}
    assert found["gateway"].init_args[0] == {}
    assert found["gateway"].init_args[2].routed


def test_the_executive_is_offered_alone_only_when_asked() -> None:
    settings = ServingConfig(accelerator="cpu", expose_executive=True, executive=VllmModel(engine="vllm"))
    assert deployments_of(build_app(settings, "/m", "/e"))["gateway"].init_args[2].models == (
        "memo",
        "memory",
        "executive",
    )
    hidden = settings.model_copy(update={"expose_executive": False})
    assert deployments_of(build_app(hidden, "/m", "/e"))["gateway"].init_args[2].models == ("memo", "memory")


def test_the_gateway_keeps_the_keys_digest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMO_TEST_KEY", " s3cret\n")
    settings = gateway_settings(ServingConfig(api_key_env="MEMO_TEST_KEY"), ("memo",))
    assert [(key.name, len(key.sha256)) for key in settings.keys] == [("default", 64)]
    assert "s3cret" not in repr(settings)
    assert gateway_settings(ServingConfig(), ("memo",)).keys == ()
    for value in ("", "  "):
        monkeypatch.setenv("MEMO_TEST_KEY", value)
        with pytest.raises(ConfigError, match=r"^serving\.api_key_env: .*MEMO_TEST_KEY is not set"):
            gateway_settings(ServingConfig(api_key_env="MEMO_TEST_KEY"), ("memo",))


def test_replica_bounds_are_checked() -> None:
    with pytest.raises(ValidationError, match=r"min_replicas \(3\) must not exceed max_replicas \(2\)"):
        ReplicaSettings(min_replicas=3, max_replicas=2)
    with pytest.raises(ValidationError, match="no replica is ever added"):
        ReplicaSettings(max_replicas=2, max_ongoing_requests=8)
    assert ReplicaSettings(max_ongoing_requests=8).max_ongoing_requests == 8


def test_a_port_in_use_is_one_line_that_names_the_key() -> None:
    with socket.socket() as taken:
        # As Serve's own proxy listens: a second listener that sets the same option would share the port.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentProblem, match=f"^serving.port: cannot listen on 127.0.0.1:{port} .*--port"):
            claim_port("127.0.0.1", port)
    claim_port("127.0.0.1", port)
    with pytest.raises(EnvironmentProblem, match=r"cannot listen on 203\.0\.113\.9:8000"):
        claim_port("203.0.113.9", 8000)


def test_urls_are_reachable_ones() -> None:
    assert url_of("0.0.0.0", 8000) == "http://127.0.0.1:8000"
    assert url_of("::", 8000) == "http://[::1]:8000"
    assert url_of("memo.internal", 80) == "http://memo.internal:80"


TRACEBACK = """The deployment failed to start 2 times in a row. Error:
ray::ServeReplica:memo:memory.initialize() (pid=1)
RuntimeError: Traceback (most recent call last):
  File "deployments.py", line 5, in reconfigure
memo_ray.errors.ConfigError: serving.memory: /m: holds no config.json;
give the folder of a Hugging Face model
"""


def test_a_replicas_own_error_comes_out_of_serves_status() -> None:
    found = reason_of(["", TRACEBACK])
    assert isinstance(found, ConfigError)
    assert str(found) == "serving.memory: /m: holds no config.json; give the folder of a Hugging Face model"
    other = reason_of(["Failed.\nTraceback\nMemoryError: no memory\n"])
    assert isinstance(other, GenerationError)
    assert str(other) == "serving: a deployment did not start (MemoryError: no memory)"


def test_the_client_starts_nothing_heavy() -> None:
    heavy = ("ray", "vllm", "torch", "fastapi")
    code = f"import sys, memo_ray.serving.client; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"
