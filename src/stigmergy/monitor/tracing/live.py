"""A run's trace sent while it goes on: one thread that follows the journal.

It never holds the run up: what cannot be sent is kept for a while, then dropped and counted. The
journal has it still, and `stig trace export` sends all of it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from stigmergy.board import TaskBoard
from stigmergy.errors import StigmergyError, TransientError
from stigmergy.monitor.tracing.fold import Tracer, TraceSpan

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["LiveTraces", "live_traces"]

_LOOK_S: Final = 1.0
_MOST_WAITING: Final = 20_000
"""Spans that are kept for a collector that does not answer."""
_RETRY_S: Final = 5.0

_log = logging.getLogger(__name__)


class LiveTraces:
    """Sends spans as they end.

    Args:
        board: open; used by this thread as well.
        exporter: where they go.
        run: the id of the board's run; "" for a board without one.
    """

    def __init__(self, board: TaskBoard, exporter: SpanExporter, *, run: str = "") -> None:
        self._board = board
        self._exporter = exporter
        self._tracer = Tracer(run=run, board=board.url)
        self._waiting: list[TraceSpan] = []
        self._stop = threading.Event()
        self._after = 0
        self._before = board.last_seq()
        """What had ended by then was sent by the process that was there before."""
        self._has_complained = False
        self.dropped = 0
        """Spans that were not sent."""

    def follow(self) -> None:
        """Send until `stop`, and then what has ended by then."""
        while not self._stop.is_set():
            self._take()
            if not self._send():
                self._stop.wait(_RETRY_S)
            # Spans that end close together go together; a run's events wake nobody for each.
            if not self._stop.wait(_LOOK_S):
                self._board.wait(after=self._after, timeout_s=_LOOK_S)
        self._take()
        if not self._send():
            self.dropped += len(self._waiting)
        if self.dropped:
            _log.warning("%d spans were not sent; `stig trace export` sends all", self.dropped)

    def stop(self) -> None:
        """Ask it to end."""
        self._stop.set()

    def _take(self) -> None:
        while events := self._board.events(after=self._after):
            for event in events:
                ended = self._tracer.take(event)
                if event.seq > self._before:
                    self._waiting += ended
            self._after = events[-1].seq
        if (excess := len(self._waiting) - _MOST_WAITING) > 0:
            del self._waiting[:excess]
            self.dropped += excess

    def _send(self) -> bool:
        from stigmergy.monitor.tracing.export import send

        if not self._waiting:
            return True
        try:
            send(self._exporter, self._waiting)
        except TransientError as error:
            if not self._has_complained:
                self._has_complained = True
                _log.warning("%s", error)
            return False
        self._waiting.clear()
        return True


@contextmanager
def live_traces(board: TaskBoard, endpoint: str, *, run: str = "") -> Generator[LiveTraces]:
    """Follow the board's journal in a thread that ends with the block.

    Raises:
        UnsupportedError: the extra `otel` is missing.
        UsageError: the endpoint is no address.
    """
    from stigmergy.monitor.tracing.export import open_exporter

    exporter = open_exporter(endpoint)
    traces = LiveTraces(board, exporter, run=run)

    def follow() -> None:
        try:
            traces.follow()
        except StigmergyError as error:
            # A run is worth more than its trace.
            _log.warning("the trace ends here: %s", error)

    thread = threading.Thread(target=follow, name="traces")
    thread.start()
    try:
        yield traces
    finally:
        traces.stop()
        thread.join()
        exporter.shutdown()
