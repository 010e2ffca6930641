"""The end of a long journal, found without reading it from the beginning."""

from __future__ import annotations

from collections.abc import Callable, Generator

from stigmergy.board import Event, TaskBoard

__all__ = ["events_since"]

_PAGE = 1000


def events_since(board: TaskBoard, at: float) -> Generator[Event]:
    """The events from a moment on, oldest first. Clocks that went back make it approximate."""
    after = _last_true(lambda seq: _is_before(board, seq, at), up_to=board.last_seq())
    while batch := board.events(after=after, limit=_PAGE):
        yield from (event for event in batch if event.at >= at)
        after = batch[-1].seq


def _is_before(board: TaskBoard, seq: int, at: float) -> bool:
    """Whether the first event from `seq` on is there and older than the moment."""
    found = board.events(after=seq - 1, limit=1)
    return bool(found) and found[0].at < at


def _last_true(holds: Callable[[int], bool], *, up_to: int) -> int:
    """The last number from 1 on for which it holds, 0 if for none. True ones come first."""
    low, high = 0, up_to + 1
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
