"""One question's trace through proxy, gateway, protocol and models, as an OpenTelemetry collector gets it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from memo_ray.serving.ray_serving import deploy
from tests.ray.collector import EXPORTER, collector
from tests.ray.scripted_endpoint import ANSWER, QUESTION, Endpoint
from tests.ray.test_serving import settings

pytestmark = pytest.mark.slow

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
DEPLOYMENTS = {"gateway", "protocol", "executive", "memory"}


@pytest.fixture(scope="module")
def spans() -> Iterator[list[Any]]:
    """The spans that a collector on this machine is sent; Ray's processes are told of it when they are started.

    Only requests whose caller asks for it are traced.
    """
    with collector() as (address, received), pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH", EXPORTER)
        patch.setenv("RAY_SERVE_TRACING_SAMPLING_RATIO", "0")
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield received


def test_one_trace_leads_through_all_deployments(spans: list[Any], ray_cluster: None) -> None:
    endpoint = Endpoint()
    endpoint.start()
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    with deploy(settings(endpoint), None, None, wait_s=120) as run:
        for one in ({}, headers):
            body = {"question": QUESTION}
            reply = httpx.post(f"{run.url}/v1/answers", json=body, headers=one, timeout=60, trust_env=False)
            assert reply.json()["answer"] == ANSWER
        end = time.monotonic() + 20
        while not DEPLOYMENTS | {"proxy"} <= {maker_of(span) for span in spans}:
            assert time.monotonic() < end, sorted({span.name for span in spans})
            time.sleep(0.2)
    endpoint.stop()
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    told = "".join(str(span) for span in spans)
    assert QUESTION not in told and ANSWER not in told and "Isolde" not in told


def maker_of(span: Any) -> str:
    """The deployment whose replica made a span, or the proxy."""
    if span.name.startswith("proxy_http_request"):
        return "proxy"
    values = {one.key: one.value.string_value for one in span.attributes}
    return values.get("deployment", "") if span.name.startswith("replica_handle_request") else ""
