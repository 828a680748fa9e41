"""OpenTelemetry traces of requests: Ray Serve makes the spans, this module says where they go.

Serve makes a span for a request at its proxy and for every call from one deployment to the next, and carries the
context along; a caller's `traceparent` header is taken up. Spans name deployments, methods, status and times, never
texts. Nothing is traced unless RAY_SERVE_TRACING_EXPORTER_IMPORT_PATH names `memo_ray.serving.tracing:otlp`: Ray 2.60
does not tell its proxies of a Serve config's `tracing_config`, so that it would lose what callers decided.
"""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def otlp() -> list[SpanProcessor]:
    """Send spans over OTLP/HTTP. Called by Serve in each of its processes.

    OpenTelemetry's own variables say where to and how, in the environment of each node: OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_HEADERS and OTEL_SERVICE_NAME among them.
    """
    return [BatchSpanProcessor(OTLPSpanExporter())]
