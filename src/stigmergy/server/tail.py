"""The end of the journal, read once for everybody: one thread watches, all subscribers share it.

Each event is encoded once. A subscriber that does not keep up is dropped, never waited for: it
comes back with the last `seq` that it has seen, and reads on from the board.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from stigmergy.board import BoardView, Event, JsonObject
from stigmergy.errors import CorruptError, TransientError

__all__ = ["JournalTail", "Line", "Subscription", "event_document", "line_of"]

_PAGE: Final = 1_000
_LOOK_S: Final = 0.2
"""How long the thread sleeps at most before it sees that it is to end."""
_GATHER_S: Final = 0.025
"""Lines are handed on together this often: a hundred streams take a hundred sends for one as for
twenty."""
_MOST_LINES: Final = 10_000
_MOST_BYTES: Final = 8 * 1024**2


def event_document(event: Event) -> JsonObject:
    """The event as JSON has it."""
    return {
        "seq": event.seq,
        "at": event.at,
        "kind": event.kind,
        "task_id": event.task_id,
        "agent_id": event.agent_id,
        "data": event.data,
    }


@dataclass(frozen=True, slots=True)
class Line:
    """An event, ready to be sent."""

    seq: int
    task_id: str
    sse: bytes


def line_of(event: Event) -> Line:
    """The event in the form of a server-sent event; its id is what `Last-Event-ID` then names."""
    data = json.dumps(event_document(event), separators=(",", ":"))
    return Line(event.seq, event.task_id, f"id: {event.seq}\ndata: {data}\n\n".encode())


@dataclass(eq=False, slots=True)
class Subscription:
    """Lines that wait to be sent to one reader."""

    lines: deque[Line] = field(default_factory=deque[Line])
    size_bytes: int = 0
    dropped: bool = False
    """It did not keep up: what is missing is on the board."""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self) -> list[Line]:
        """All that waits."""
        lines = list(self.lines)
        self.lines.clear()
        self.size_bytes = 0
        self.news.clear()
        return lines

    def give(self, lines: Sequence[Line], size_bytes: int) -> None:
        """Append, or drop the reader if that is too much."""
        self.lines.extend(lines)
        self.size_bytes += size_bytes
        if len(self.lines) > _MOST_LINES or self.size_bytes > _MOST_BYTES:
            self.dropped = True
            self.lines.clear()
        self.news.set()


class JournalTail:
    """Follows a board's journal from where it stands when this is started.

    Args:
        board: whose journal.
        loop: where subscribers live; everything but the thread runs there.
    """

    def __init__(self, board: BoardView, loop: asyncio.AbstractEventLoop) -> None:
        self._board = board
        self._loop = loop
        self._stop = threading.Event()
        self._delivered = threading.Event()
        self._subscriptions: set[Subscription] = set()
        self._listeners: list[Callable[[Sequence[Event]], None]] = []
        self.streams = 0
        """How many readers there are, with those that still read what is on the board."""
        self.seq = board.last_seq()
        """Up to which everything was handed to all subscribers."""
        self._gathered: list[Event] = []
        self._latest = self.seq
        self._thread = threading.Thread(target=self._watch, name="journal-tail", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def listen(self, listener: Callable[[Sequence[Event]], None]) -> None:
        """Call it, in the loop, with all new events in their order."""
        self._listeners.append(listener)

    def subscribe(self) -> Subscription:
        """From the event after `seq` on."""
        subscription = Subscription()
        self._subscriptions.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Hand it nothing more. Idempotent."""
        self._subscriptions.discard(subscription)

    def close(self) -> None:
        """Let the thread end; waits for it. Not from the loop's thread while it has callbacks."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        seq = self.seq
        while not self._stop.is_set():
            try:
                events = self._board.events(after=seq, limit=_PAGE)
                if not events:
                    self._board.wait(after=seq, timeout_s=_LOOK_S)
                    continue
            except (TransientError, CorruptError):
                self._stop.wait(_LOOK_S)
                continue
            seq = events[-1].seq
            self._delivered.clear()
            self._loop.call_soon_threadsafe(self._deliver, events)
            # No further than a page ahead of a loop that is busy.
            while not self._delivered.wait(_LOOK_S) and not self._stop.is_set():
                pass

    def _deliver(self, events: Sequence[Event]) -> None:
        if self._latest == self.seq:  # nothing is gathered yet
            self._loop.call_later(_GATHER_S, self._hand_on)
        self._latest = events[-1].seq
        self._gathered += events
        for listener in self._listeners:
            listener(events)
        self._delivered.set()

    def _hand_on(self) -> None:
        events, self._gathered = self._gathered, []
        self.seq = self._latest
        if not self._subscriptions:
            return
        lines = [line_of(event) for event in events]
        size = sum(len(line.sse) for line in lines)
        for subscription in list(self._subscriptions):
            subscription.give(lines, size)
            if subscription.dropped:
                self._subscriptions.discard(subscription)
