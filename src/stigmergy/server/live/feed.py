"""The feed of one board: folds its journal once and tells all who watch the same bytes.

A thread takes events from the source, folds them into the view and, at most every quarter of a
second and only when something changed, encodes one delta for all. A newcomer's snapshot is taken
between two deltas, under the same lock, so that snapshot and deltas fit together without a gap.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar, cast

from stigmergy.board import Event, JsonObject
from stigmergy.errors import CorruptError, TransientError
from stigmergy.server.live.sources import Moment, Source
from stigmergy.server.live.subscription import Subscription

__all__ = ["Feed", "View"]

_T = TypeVar("_T")
_log: Final = logging.getLogger(__name__)
_INTERVAL_S: Final = 0.25
_MENDED_S: Final = 2.0
"""How long until a damaged board is looked at again."""
_FACTS_S: Final = 1.0
"""How often the place of a replay is told when nothing else is."""


class View(Protocol):
    """What `stigmergy.monitor.SwarmView` does, as the feed uses it."""

    def take(self, events: Iterable[Event]) -> list[str]:
        """Fold the events."""
        ...

    def tick(self, now: float) -> None:
        """Bring up to date what time alone changes."""
        ...

    def snapshot(self, now: float) -> JsonObject:
        """The whole document."""
        ...

    def changes(self, now: float) -> JsonObject | None:
        """The delta since the last call, or None."""
        ...


class Feed:
    """Tells of one board while its `with` block lasts.

    Args:
        source: where events come from.
        make_view: an empty view; a replay that goes back begins with another.
        interval_s: the least time between two deltas.
    """

    def __init__(
        self, source: Source, make_view: Callable[[], View], *, interval_s: float = _INTERVAL_S
    ) -> None:
        self.source = source
        self._make_view = make_view
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._view = make_view()
        self._now = 0.0
        self._seq = 0
        self._facts: JsonObject = source.facts()
        self._facts_at = 0.0
        self._readers: set[Subscription] = set()
        self._left = threading.Condition(self._lock)
        self._here: set[Subscription] = set()
        self._is_finished = False
        self._snapshot: tuple[float, bytes] | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._caught_up = threading.Event()
        self._failure: BaseException | None = None
        self._complaint = ""

    def open(self) -> None:
        """Begin."""
        self._thread = threading.Thread(target=self._work, name="feed")
        self._thread.start()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and all streams. Idempotent."""
        self._stop.set()
        self.end_streams()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def end_streams(self) -> None:
        """Let every reader's stream end now: whoever still wants it comes back."""
        with self._lock:
            readers, self._readers = self._readers, set()
        for reader in readers:
            reader.end()

    def finish(self, *, timeout_s: float) -> None:
        """Tell what has happened by now, and let each stream end once its reader has that.

        Who watched a run sees its end, although the server ends with it. Waits for that, but no
        longer than `timeout_s`.
        """
        ends_at = time.monotonic() + timeout_s
        for _ in range(2):  # the first look may have begun before this call
            self._caught_up.clear()
            if self._failure is None and not self._stop.is_set():
                self._caught_up.wait(max(0.0, ends_at - time.monotonic()))
        with self._lock:
            self._tell()
            self._is_finished = True
        self.end_streams()
        with self._left:
            self._left.wait_for(lambda: not self._here, max(0.0, ends_at - time.monotonic()))

    @property
    def readers(self) -> int:
        """How many watch."""
        with self._lock:
            return len(self._readers)

    @property
    def now(self) -> float:
        """In the time that is shown: of a replay, the place where it stands."""
        return self._now

    def subscribe(self, loop: asyncio.AbstractEventLoop) -> Subscription:
        """A queue for a reader in that loop, with the snapshot in it. It may take a moment."""
        with self._lock:
            self._tell()
            reader = Subscription(loop, self._framed_snapshot())
            self._here.add(reader)
            if self._is_finished or self._stop.is_set() or self._failure is not None:
                reader.end()
            else:
                self._readers.add(reader)
        return reader

    def leave(self, reader: Subscription) -> None:
        """Forget a reader. Idempotent."""
        with self._lock:
            self._readers.discard(reader)
            self._here.discard(reader)
            self._left.notify_all()
        reader.end()

    def snapshot(self) -> bytes:
        """The whole document as JSON."""
        with self._lock:
            self._tell()
            return self._snapshot_json()

    def look(self, read: Callable[[View, float], _T]) -> _T:
        """What a function reads of the view as it stands; nobody else has it meanwhile."""
        with self._lock:
            return read(self._view, self._now)

    def wait_caught_up(self, *, timeout_s: float) -> bool:
        """Wait until all that was written before the feed began has been folded."""
        return self._caught_up.wait(timeout_s)

    # The thread ------------------------------------------------------------------------------

    def _complain(self, error: CorruptError) -> None:
        """Once for all times that it is found."""
        if self._complaint != str(error):
            self._complaint = str(error)
            _log.error("the journal cannot be read: %s", error)

    def _work(self) -> None:
        due = 0.0
        try:
            while not self._stop.is_set():
                wait_s = max(0.0, due - time.monotonic())
                try:
                    moment = self.source.next(timeout_s=wait_s)
                except TransientError:  # a busy board: what is known stays in sight
                    self._stop.wait(self._interval_s)
                    continue
                except CorruptError as error:  # `stig board doctor` may mend it
                    self._complain(error)
                    self._stop.wait(_MENDED_S)
                    continue
                with self._lock:
                    self._take(moment)
                    if time.monotonic() >= due:
                        self._view.tick(moment.now)
                        self._tell()
                        due = time.monotonic() + self._interval_s
                if not moment.events:
                    self._caught_up.set()
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self._caught_up.set()
            self.end_streams()

    def _take(self, moment: Moment) -> None:
        self._now = moment.now
        if moment.rewound:
            self._begin_again(moment)
        elif moment.events:
            self._view.take(moment.events)
            self._seq = moment.events[-1].seq
            self._snapshot = None

    def _begin_again(self, moment: Moment) -> None:
        self._view = self._make_view()
        self._view.take(moment.events)
        self._view.tick(moment.now)
        self._view.changes(moment.now)
        self._seq = moment.events[-1].seq if moment.events else 0
        self._snapshot = None
        self._broadcast(self._framed_snapshot())

    def _tell(self) -> None:
        """Send a delta when there is something to tell."""
        delta = self._view.changes(self._now)
        facts = self._news_of_source()
        if delta is None and facts is None:
            return
        self._snapshot = None
        if delta is None:
            delta = {"seq": self._seq, "now": self._now}
        if not self._readers:
            return
        self._broadcast(_frame("delta", self._seq, _encode(self._labelled_delta(delta, facts))))

    def _news_of_source(self) -> JsonObject | None:
        facts = self.source.facts()
        at = time.monotonic()
        settings = _without_place(facts) != _without_place(self._facts)
        moved = facts != self._facts and at - self._facts_at >= _FACTS_S
        if not settings and not moved:
            return None
        self._facts, self._facts_at = facts, at
        return facts

    def _labelled_delta(self, delta: JsonObject, facts: JsonObject | None) -> JsonObject:
        told = dict(_object(delta.get("replace")))
        if run := _object(told.get("run")):
            told["run"] = self._labelled_run(run)
        if facts is not None:
            told["feed"] = facts
        return {**delta, "replace": told} if told else delta

    def _labelled_run(self, run: JsonObject) -> JsonObject:
        if "label" not in run:
            return run
        return {**run, "label": self.source.label(str(run.get("label") or ""))}

    def _snapshot_json(self) -> bytes:
        if self._snapshot is None or time.monotonic() - self._snapshot[0] > self._interval_s:
            document = dict(self._view.snapshot(self._now))
            document["run"] = self._labelled_run({"label": "", **_object(document.get("run"))})
            document["feed"] = self.source.facts()
            self._snapshot = (time.monotonic(), _encode(document))
        return self._snapshot[1]

    def _framed_snapshot(self) -> bytes:
        return _frame("snapshot", self._seq, self._snapshot_json())

    def _broadcast(self, message: bytes) -> None:
        self._readers = {reader for reader in self._readers if reader.offer(message)}


def _encode(document: JsonObject) -> bytes:
    # ASCII: what agents say may hold lone surrogates, and no line end but the frame's own.
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _frame(event: str, seq: int, data: bytes) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (seq, event.encode(), data)


def _without_place(facts: JsonObject) -> JsonObject:
    replay = {name: value for name, value in _object(facts.get("replay")).items() if name != "at"}
    return {**facts, "replay": replay}


def _object(value: object) -> JsonObject:
    return cast("JsonObject", value) if isinstance(value, dict) else {}
