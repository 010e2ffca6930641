"""Traces of a swarm, made from its journal: pure spans, and their way to OpenTelemetry."""

from stigmergy.monitor.tracing.fold import Tracer, TraceSpan, spans_of

__all__ = ["TraceSpan", "Tracer", "spans_of"]
