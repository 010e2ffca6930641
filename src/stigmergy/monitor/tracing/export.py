"""Spans handed to OpenTelemetry: the one module that imports its SDK (the extra `otel`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from urllib.parse import urlsplit

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
    from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
    from opentelemetry.trace.status import Status, StatusCode
except ImportError as error:  # pragma: no cover - where the extra is missing
    from stigmergy.errors import UnsupportedError

    raise UnsupportedError("traces need the extra otel: pip install 'stigmergy[otel]'") from error

import stigmergy
from stigmergy.errors import TransientError, UsageError
from stigmergy.monitor.tracing import names
from stigmergy.monitor.tracing.fold import TraceSpan

__all__ = ["BATCH", "open_exporter", "readable", "send"]

BATCH: Final = 512
"""Spans in one request."""
_TIMEOUT_S: Final = 5.0
_CODES: Final = {"unset": StatusCode.UNSET, "ok": StatusCode.OK, "error": StatusCode.ERROR}


def open_exporter(endpoint: str) -> SpanExporter:
    """An exporter over OTLP/HTTP to a collector, `http://127.0.0.1:4318` for one on this machine.

    Headers that it asks for are taken from `OTEL_EXPORTER_OTLP_HEADERS`, as everywhere.

    Raises:
        UsageError: the endpoint is no address.
    """
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"otel_endpoint is {endpoint!r}: take an address as http://127.0.0.1:4318")
    is_bare = parts.path in ("", "/")
    url = f"{endpoint.rstrip('/')}/v1/traces" if is_bare else endpoint
    return OTLPSpanExporter(endpoint=url, timeout=_TIMEOUT_S)


def readable(span: TraceSpan, resource: Resource) -> ReadableSpan:
    """The span as the SDK has it."""

    def context(span_id: int) -> SpanContext:
        return SpanContext(
            trace_id=span.trace_id,
            span_id=span_id,
            is_remote=False,
            trace_flags=TraceFlags(TraceFlags.SAMPLED),
        )

    code = _CODES[span.status]
    return ReadableSpan(
        name=span.name,
        context=context(span.span_id),
        parent=None if span.parent_id is None else context(span.parent_id),
        resource=resource,
        attributes=span.attributes,
        kind=SpanKind.CLIENT if span.is_call else SpanKind.INTERNAL,
        # Only an error has a description, by the specification.
        status=Status(code, span.message or None if code is StatusCode.ERROR else None),
        start_time=_nanoseconds(span.start),
        end_time=_nanoseconds(span.end),
        instrumentation_scope=InstrumentationScope(names.SCOPE, stigmergy.__version__),
    )


def send(exporter: SpanExporter, spans: Iterable[TraceSpan]) -> int:
    """Export the spans, in batches; how many.

    Raises:
        TransientError: they did not arrive.
    """
    resource = Resource.create(
        {"service.name": names.SERVICE, "service.version": stigmergy.__version__}
    )
    made = [readable(span, resource) for span in spans]
    for first in range(0, len(made), BATCH):
        _send(exporter, made[first : first + BATCH])
    return len(made)


def _send(exporter: SpanExporter, batch: Sequence[ReadableSpan]) -> None:
    if exporter.export(batch) is not SpanExportResult.SUCCESS:
        raise TransientError(
            "the traces did not arrive: is there a collector at otel_endpoint that takes OTLP/HTTP?"
        )


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
