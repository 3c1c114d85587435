"""Spans of OpenTelemetry: FastAPI makes one of each request, and the phases stand below it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace

from ._errors import ServingError

UNTRACED = ("/health", "/ready", "/metrics")
TELEMETRY: TelemetryConfig = {
    "auto_configure": False,
    "logs": False,  # they hold the texts of errors, which quote requests
    "operation_spans": False,
    "exclude": lambda scope: scope.get("path") in UNTRACED,
}
"""Settings of FastAPI's own telemetry, which does nothing while the process has no provider."""
tracer = trace.get_tracer("yoj.serving")


def trace_id() -> str | None:
    """Id of the trace of the current request in hexadecimal; None where it has none."""
    context = trace.get_current_span().get_span_context()
    return f"{context.trace_id:032x}" if context.is_valid else None


def record(name: str, begin: int, end: int, about: Mapping[str, Any]) -> None:
    """Record a phase of the current request that is over.

    Args:
        name: name of the span.
        begin: nanoseconds since 1970.
        end: nanoseconds since 1970.
        about: attributes.
    """
    tracer.start_span(name, start_time=begin, attributes=about).end(end)


def flush() -> None:
    """Send the spans that were not sent yet. On SIGTERM a process ends without what Python does at its end."""
    provider = trace.get_tracer_provider()
    force = getattr(provider, "force_flush", None)  # which providers of the SDK have
    if force is not None:
        force(2000)


def export_spans() -> None:
    """Send spans to the collector that OpenTelemetry's environment variables name, by OTLP over HTTP.

    Raises:
        ServingError: OpenTelemetry's SDK or its exporter is not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ServingError(f"OpenTelemetry is missing ({error}). Install it with: pip install 'yoj[otel]'") from error
    resource = Resource.create()  # a name in the environment goes before ours
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": "yoj"}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
