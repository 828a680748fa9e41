"""The requests that docs/serving.md shows, sent as they stand there to two real engines behind the gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from memo_ray.serving.ray_serving import deploy
from tests.browser.scripted_gateway import tables
from tests.e2e.test_serving_engine import CONFIG
from tests.ray.scripted_endpoint import free_port
from tests.shown import BLOCKS, run

pytestmark = pytest.mark.slow
SHOWN = [block for block in BLOCKS if block.test == "tests/e2e/test_shown_requests.py"]
REPLIES = {"curl": '"justification"', "OpenAI": "[", "grpc": "answer {"}
"""What begins or ends each block's reply, by a word of the block."""


@pytest.fixture(scope="module")
def ports(
    ray_cluster: None, embedded_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Where it is served: the addresses on the page → those of here."""
    http, grpc = free_port(), free_port()
    config = CONFIG.model_copy(update={"port": http, "grpc_port": grpc})
    ledgers = (tables(tmp_path_factory.mktemp("tables")),)
    with deploy(config, str(embedded_model), str(embedded_model), ledgers=ledgers, wait_s=240):
        yield {"localhost:8000": f"127.0.0.1:{http}", "localhost:9000": f"127.0.0.1:{grpc}"}


@pytest.mark.parametrize("word", REPLIES)
def test_a_shown_request_is_answered(word: str, ports: dict[str, str], tmp_path: Path) -> None:
    (block,) = (one for one in SHOWN if word in one.text)
    text = f'KEY = "none"\n{block.text}' if "{KEY}" in block.text else block.text
    for shown, used in ports.items():
        text = text.replace(shown, used)
    done = run(replace(block, text=text), tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    assert REPLIES[word] in done.stdout, done.stdout[-2000:]
    assert not re.search(r'^event: error|"error":', done.stdout, re.MULTILINE), done.stdout[-2000:]


def test_every_block_that_names_this_test_is_sent() -> None:
    assert len(SHOWN) == len(REPLIES)
