"""A collector of traces on this machine: takes OTLP over HTTP and keeps what came.

with Collector() as collector:
    ...  # send traces to collector.url
    collector.wait_for("run")
"""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

__all__ = ["Collector"]

_PATH: Final = "/v1/traces"
_WITHIN_S: Final = 30.0


class Collector:
    """Listens on the loopback. Needs the extra `otel`."""

    def __init__(self) -> None:
        self.refuses = False
        """Answer every request with 400."""
        self._requests: list[ExportTraceServiceRequest] = []
        self._came = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.send_response(outer._take(self.path, self._body()))  # pyright: ignore[reportPrivateUsage] - one thing in two classes
                self.end_headers()

            def _body(self) -> bytes:
                return self.rfile.read(int(self.headers["Content-Length"]))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                del format, args

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="collector")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _take(self, path: str, body: bytes) -> int:
        if self.refuses or path != _PATH:
            return 400
        request = ExportTraceServiceRequest.FromString(body)
        with self._came:
            self._requests.append(request)
            self._came.notify_all()
        return 200

    @property
    def spans(self) -> list[Span]:
        """All that came, in their order."""
        return [
            span
            for request in self._requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def wait_for(self, *names: str) -> None:
        """Until spans of these names came."""
        with self._came:
            came = self._came.wait_for(
                lambda: set(names) <= {span.name for span in self.spans}, _WITHIN_S
            )
        assert came, f"of {names} there came {sorted({span.name for span in self.spans})}"
