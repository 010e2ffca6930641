"""A board in figures: how many tasks stand where, what waits, what the last hour brought.

What is not known is None, and never 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from stigmergy.board.store import Store
from stigmergy.board.task import TaskStatus

__all__ = ["COUNTED", "Figures", "measure"]

COUNTED: Final = ("posted", "claimed", "completed", "failed", "tried_again")
"""What throughput tells of."""
_SPANS_S: Final = {"minute": 60.0, "hour": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a board holds and does."""

    by_type: Mapping[str, Mapping[TaskStatus, int]]
    oldest_ready_s: float | None
    """How long the task waits that could be claimed the longest; None if none can."""
    held: int
    overdue: int
    throughput: Mapping[str, Mapping[str, int] | None]
    """Of the last minute and hour what `COUNTED` names; None where the journal is too short."""


def measure(store: Store, *, now: float) -> Figures:
    """The board in figures, as it stands at `now`."""
    census = store.census(now=now)
    oldest = census.oldest_ready_at
    return Figures(
        by_type=census.by_type,
        oldest_ready_s=None if oldest is None else max(now - oldest, 0.0),
        held=census.held,
        overdue=census.overdue,
        throughput=_throughput(store, now=now),
    )


def _throughput(store: Store, *, now: float) -> dict[str, Mapping[str, int] | None]:
    first = store.events(after=0, limit=1)
    # What was pruned cannot be counted; a journal that begins with the board lacks nothing.
    known_from = first[0].at if first and first[0].seq > 1 else 0.0
    return {
        name: _counted(store, now - span) if known_from <= now - span else None
        for name, span in _SPANS_S.items()
    }


def _counted(store: Store, since: float) -> dict[str, int]:
    tally = store.tally(after=_last_before(store, since), since=since)
    counted = {name: tally.get(name, 0) for name in COUNTED}
    counted["failed"] += tally.get("expired", 0)
    return counted


def _last_before(store: Store, at: float) -> int:
    """A `seq` before which all events are older; clocks that went back make it approximate."""
    return _last_true(lambda seq: _is_before(store, seq, at), up_to=store.last_seq())


def _is_before(store: Store, seq: int, at: float) -> bool:
    """Whether the first event from `seq` on is there and older than the moment."""
    found = store.events(after=seq - 1, limit=1)
    return bool(found) and found[0].at < at


def _last_true(holds: Callable[[int], bool], *, up_to: int) -> int:
    """The last number from 1 on for which it holds, 0 if for none. True ones come first."""
    low, high = 0, up_to + 1
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
