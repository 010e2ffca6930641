"""What stores count by themselves: tasks by type and status, events by kind.

So a board of a million tasks is not read to be told of. What a store counts is stated here as pure
functions over tasks and events, which the contract of stores holds them to.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from stigmergy.board.lifecycle import is_ready
from stigmergy.board.task import Event, JsonObject, Task, TaskStatus

__all__ = ["Census", "census_from", "census_of", "tally_from", "tally_of"]

_ENDS: Final = frozenset({"failed", "expired"})
"""Events that end an attempt; their `status` says whether another one comes."""
_AGAIN: Final = "tried_again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """What stands on a board at a moment."""

    by_type: Mapping[str, Mapping[TaskStatus, int]] = field(
        default_factory=dict[str, dict[TaskStatus, int]]
    )
    """Without zeros."""
    overdue: int = 0
    """Held tasks whose lease has run out."""
    oldest_ready_at: float | None = None
    """Since when the task waits that could be claimed the longest; None if none can."""

    @property
    def held(self) -> int:
        """How many tasks agents hold."""
        return sum(
            number
            for counts in self.by_type.values()
            for status, number in counts.items()
            if status.is_leased
        )


def census_of(tasks: Iterable[Task], *, now: float) -> Census:
    """The census of all of a board's tasks."""
    by_type: dict[str, Counter[TaskStatus]] = {}
    oldest: float | None = None
    overdue = 0
    for task in tasks:
        by_type.setdefault(task.task_type, Counter())[task.status] += 1
        if task.lease_until is not None:
            overdue += task.lease_until <= now
        elif is_ready(task, now):
            since = max(task.created_at, task.not_before)
            oldest = since if oldest is None else min(oldest, since)
    return Census(by_type=by_type, overdue=overdue, oldest_ready_at=oldest)


def tally_of(events: Iterable[Event]) -> dict[str, int]:
    """How many events there are of each kind; an end that another attempt follows has its own."""
    counted: Counter[str] = Counter()
    for event in events:
        counted[_counted_as(event.kind, event.data)] += 1
    return dict(counted)


def census_from(rows: Iterable[tuple[str, str, int, int, float | None]]) -> Census:
    """The census from rows: type, status, number, how many are overdue, the oldest ready time."""
    by_type: dict[str, dict[TaskStatus, int]] = {}
    times: list[float] = []
    overdue = 0
    for task_type, status, number, late, oldest in rows:
        by_type.setdefault(task_type, {})[TaskStatus(status)] = number
        overdue += late
        if oldest is not None:
            times.append(oldest)
    return Census(by_type=by_type, overdue=overdue, oldest_ready_at=min(times, default=None))


def tally_from(rows: Iterable[tuple[str, str | None, int]]) -> dict[str, int]:
    """The tally from rows of kind, data where an attempt ended with it, and number."""
    counted: Counter[str] = Counter()
    for kind, data, number in rows:
        counted[kind if data is None else _counted_as(kind, json.loads(data))] += number
    return dict(counted)


def _counted_as(kind: str, data: JsonObject) -> str:
    return _AGAIN if kind in _ENDS and data.get("status") == TaskStatus.PENDING else kind
