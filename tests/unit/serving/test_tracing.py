"""Where spans go: Serve loads the exporter by its name, and a collector gets what it is handed."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from ray.serve._private.tracing_utils import _load_span_processors

from tests.ray.collector import EXPORTER, collector


def test_a_collector_gets_the_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    with collector() as (address, spans):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        provider = TracerProvider()
        for processor in _load_span_processors(EXPORTER, "unused"):
            provider.add_span_processor(processor)
        with provider.get_tracer("test").start_as_current_span("one"):
            pass
        provider.shutdown()
    assert [span.name for span in spans] == ["one"]
