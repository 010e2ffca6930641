"""Where a feed's events come from: a journal as it is written, or one that is played again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Final, Protocol

from stigmergy.board import Event, JsonObject, TaskBoard
from stigmergy.server.live.playhead import Playhead, Position

__all__ = ["Clock", "JournalSource", "Moment", "ReplaySource", "Source"]

Clock = Callable[[], float]

_BATCH: Final = 2_000
_LOOK_S: Final = 0.1
"""How often a replay looks whether the next event is due."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What happened until `now`, in the time that the view lives in."""

    events: Sequence[Event]
    now: float
    rewound: bool = False
    """The events begin again from the first; what was folded is void."""


class Source(Protocol):
    """Hands out events in their order. Used by one thread."""

    def next(self, *, timeout_s: float) -> Moment:
        """The next events; none when the time ran out first."""
        ...

    def facts(self) -> JsonObject:
        """What a reader must know of the source itself: `live`, or a replay's place."""
        ...

    def label(self, own: str) -> str:
        """The label of what is shown, given the run's own."""
        ...


class JournalSource:
    """A board's journal as it is written."""

    def __init__(self, board: TaskBoard, *, clock: Clock) -> None:
        self._board = board
        self._clock = clock
        self._after = 0

    def next(self, *, timeout_s: float) -> Moment:
        """See `Source.next`."""
        events = self._board.events(after=self._after, limit=_BATCH)
        if not events and timeout_s > 0:
            self._board.wait(after=self._after, timeout_s=timeout_s)
            events = self._board.events(after=self._after, limit=_BATCH)
        if events:
            self._after = events[-1].seq
        return Moment(events, self._clock())

    def facts(self) -> JsonObject:
        """See `Source.facts`."""
        return {"live": True, "replay": None}

    def label(self, own: str) -> str:
        """See `Source.label`."""
        return own


class ReplaySource:
    """A finished journal, played again at a speed; may be stopped, moved and hurried.

    `change` is safe from any thread.

    Args:
        events: the whole journal; at least one.
        speed: the run's seconds for each second of the watcher's.
        clock: the watcher's; a monotonic one.
    """

    def __init__(self, events: Sequence[Event], *, speed: float, clock: Clock) -> None:
        self._all = list(events)
        self._clock = clock
        self._changed = threading.Condition()
        # A clock that was set back while the run went on must not make the play stand still.
        self._times = list(accumulate((event.at for event in self._all), max))
        self._head = Playhead.start(
            begins=self._times[0], ends=self._times[-1], speed=speed, now=clock()
        )
        self._told = 0
        self._rewound = False

    def next(self, *, timeout_s: float) -> Moment:
        """See `Source.next`."""
        deadline = self._clock() + timeout_s
        with self._changed:
            while True:
                now = self._clock()
                place = self._head.place(now)
                if self._rewound:
                    self._rewound, self._told = False, 0
                    return Moment(self._due(place), place, rewound=True)
                if events := self._due(place):
                    return Moment(events, place)
                if now >= deadline:
                    return Moment((), place)
                self._changed.wait(min(_LOOK_S, deadline - now))

    def change(
        self, *, speed: float | None = None, paused: bool | None = None, at: float | None = None
    ) -> Position:
        """Go on otherwise: faster, not at all, or from elsewhere (in the run's own time)."""
        with self._changed:
            now = self._clock()
            if at is not None and at < self._head.place(now):
                self._rewound = True
            self._head = self._head.changed(now, speed=speed, paused=paused, at=at)
            self._changed.notify_all()
            return self._head.position(now)

    def facts(self) -> JsonObject:
        """See `Source.facts`."""
        with self._changed:
            position = self._head.position(self._clock())
        return {
            "live": False,
            "replay": {
                "at": position.at,
                "begins": position.begins,
                "ends": position.ends,
                "speed": position.speed,
                "paused": position.paused,
            },
        }

    def label(self, own: str) -> str:
        """See `Source.label`."""
        return f"REPLAY · {own}" if own else "REPLAY"

    def _due(self, place: float) -> list[Event]:
        first = self._told
        while self._told < len(self._all) and self._times[self._told] <= place:
            self._told += 1
        return self._all[first : self._told]
