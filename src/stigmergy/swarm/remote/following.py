"""A server's journal as it happens: its stream of events, connected again where it was lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Iterable
from queue import Empty, Full, Queue
from typing import Any, Final

from stigmergy.board import Event
from stigmergy.errors import CorruptError, StigmergyError, TransientError
from stigmergy.swarm.remote.wire import Wire

__all__ = ["event_of", "follow", "server_sent"]

_AHEAD: Final = 1_000
"""Events that are read before somebody wants them."""
_SILENCE_S: Final = 60.0
"""A stream from which nothing comes for so long, not even a sign of life, is dead."""
_PAUSE_S: Final = 1.0
_LOOK_S: Final = 0.25


def event_of(document: dict[str, Any]) -> Event:
    """An event that was told.

    Raises:
        CorruptError: it is none.
    """
    try:
        return Event(
            seq=int(document["seq"]),
            at=float(document["at"]),
            kind=str(document["kind"]),
            task_id=str(document["task_id"]),
            agent_id=str(document["agent_id"]),
            data=dict(document["data"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptError(f"the server told an event that is none: {error}", where="?") from None


def server_sent(lines: Iterable[str], stop: threading.Event) -> Generator[tuple[str, str]]:
    """The kind and the data of server-sent events. Source: WHATWG HTML, 9.2.6."""
    kind, data = "", list[str]()
    for line in lines:
        if stop.is_set():
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                yield kind or "message", "\n".join(data)
            kind, data = "", []
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)


def follow(
    wire: Wire, *, after: int, stop: threading.Event, idle_s: float = _LOOK_S
) -> Generator[Event]:
    """Events from after one on, until `stop` is set (noticed within `idle_s`).

    Raises:
        TransientError: the server did not answer for as long as the wire is patient.
    """
    reader = _Reader(wire, after)
    reader.start()
    try:
        while not stop.is_set():
            try:
                news = reader.news.get(timeout=idle_s)
            except Empty:
                continue
            if isinstance(news, StigmergyError):
                raise news
            yield news
    finally:
        reader.gone.set()


class _Reader(threading.Thread):
    """Reads the stream, so that whoever wants the events can heed a stop meanwhile.

    Nobody waits for it at the end: it hears of that with the next sign of life from the server,
    or when the wire is closed.
    """

    def __init__(self, wire: Wire, after: int) -> None:
        super().__init__(name="journal", daemon=True)
        self.news: Queue[Event | StigmergyError] = Queue(_AHEAD)
        self.gone = threading.Event()
        self._wire = wire
        self._after = after
        self._silent_s = 0.0

    def run(self) -> None:
        """Read until nobody wants it."""
        while not self.gone.is_set():
            try:
                self._read()
            except TransientError as error:
                self._silent_s += _PAUSE_S
                if self._silent_s > self._wire.patience_s:
                    self._put(error)
                    return
            except StigmergyError as error:
                self._put(error)
                return
            except RuntimeError:  # httpx: the client was closed
                return
            self.gone.wait(_PAUSE_S)

    def _read(self) -> None:
        query = [("after", str(self._after))]
        with self._wire.lines("/journal", query, silence_s=_SILENCE_S) as lines:
            self._silent_s = 0.0
            for _, data in server_sent(lines, self.gone):
                try:
                    document = json.loads(data)
                except ValueError:
                    raise TransientError("the stream was cut off") from None
                event = event_of(document)
                self._put(event)
                self._after = event.seq

    def _put(self, news: Event | StigmergyError) -> None:
        while not self.gone.is_set():
            try:
                self.news.put(news, timeout=_LOOK_S)
            except Full:
                continue
            return
