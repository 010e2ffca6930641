"""Tasks in memory, with the indexes that the Store seam's questions need.

The memory store is this and a lock; the files store is this and a journal. Not thread-safe: the
store that owns it holds its lock.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter, defaultdict
from collections.abc import Iterable
from heapq import merge
from itertools import count, islice
from typing import Any

from stigmergy.board.census import Census, census_of
from stigmergy.board.lifecycle import is_ready, rank
from stigmergy.board.store import Match, Query
from stigmergy.board.task import Task, TaskStatus

__all__ = ["TaskIndex"]

_Lane = tuple[str, tuple[str, ...], str | None]
"""Tasks that are alike to a claim: the type, what is required, the limit key."""


class TaskIndex:
    """A table of tasks by id, kept in posting order."""

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._places: dict[str, int] = {}
        self._next_place = count()
        self._lanes: dict[_Lane, list[tuple[float, int, str]]] = defaultdict(list)
        """Of each lane the tasks that nothing but their time holds back, in claim order."""
        self._leased: set[str] = set()
        self._waiting: dict[str, set[str]] = defaultdict(set)
        self._children: dict[str, set[str]] = defaultdict(set)
        self._unique: dict[str, str] = {}
        """The unfinished task of each unique key."""
        self._lines: dict[tuple[str, int], list[float]] = defaultdict(list)
        """Of each parent and priority the ranks of the pending tasks, sorted."""
        self._counts: dict[str | None, Counter[TaskStatus]] = defaultdict(Counter)
        """Of each parent, and under None of all."""

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._tasks

    def get(self, task_id: str) -> Task | None:
        """The task of that id."""
        return self._tasks.get(task_id)

    def put(self, task: Task, *, place: int | None = None) -> None:
        """Insert or replace; a replaced task keeps its place, a removed one can have it back."""
        if old := self._tasks.get(task.task_id):
            self._unlink(old)
        else:
            self._places[task.task_id] = next(self._next_place) if place is None else place
        self._tasks[task.task_id] = task
        if place is not None:
            in_order = sorted(self._tasks, key=self._places.__getitem__)
            self._tasks = {name: self._tasks[name] for name in in_order}
        self._link(task)

    def place(self, task_id: str) -> int | None:
        """Where it stands in the posting order."""
        return self._places.get(task_id)

    def remove(self, task_id: str) -> None:
        """Forget a task. Unknown ids are ignored."""
        if old := self._tasks.pop(task_id, None):
            self._unlink(old)
            del self._places[task_id]

    def tasks(self) -> dict[str, Task]:
        """All tasks by id, in posting order. To be read at once, and not to be changed."""
        return self._tasks

    def ready(self, match: Match, *, limit: int, now: float) -> list[Task]:
        """As `Transaction.ready`."""
        lanes = (keys for lane, keys in self._lanes.items() if match.accepts(*lane))
        candidates = (self._tasks[task_id] for _, _, task_id in merge(*lanes))
        return list(islice((task for task in candidates if is_ready(task, now)), limit))

    def expired(self, *, limit: int, now: float) -> list[Task]:
        """As `Transaction.expired`."""
        late = [task for task in self.leased() if (task.lease_until or 0.0) <= now]
        late.sort(key=lambda task: (task.lease_until or 0.0, self._places[task.task_id]))
        return late[:limit]

    def leased(self) -> list[Task]:
        """The tasks that somebody holds, in no particular order."""
        return [self._tasks[task_id] for task_id in self._leased]

    def dependents(self, task_id: str) -> list[Task]:
        """As `Transaction.dependents`."""
        return self._in_order(self._waiting.get(task_id, ()))

    def holder(self, unique_key: str) -> Task | None:
        """As `Transaction.holder`."""
        task_id = self._unique.get(unique_key)
        return None if task_id is None else self._tasks[task_id]

    def tail(self, parent_id: str, priority: int) -> float | None:
        """As `Transaction.tail`."""
        line = self._lines.get((parent_id, priority))
        return line[-1] if line else None

    def select(self, query: Query) -> list[Task]:
        """As `Store.select`."""
        if query.parent_id is not None:
            tasks = self._in_order(self._children.get(query.parent_id, ()))
        elif query.statuses is not None and all(status.is_leased for status in query.statuses):
            tasks = self._in_order(self._leased)
        else:
            tasks = self._tasks.values()
        if query.after is not None:
            place = self._places.get(query.after)
            tasks = () if place is None else (t for t in tasks if self._places[t.task_id] > place)
        return list(islice((task for task in tasks if query.accepts(task)), query.limit))

    def counts(self, parent_id: str | None) -> dict[TaskStatus, int]:
        """As `Store.counts`."""
        known = self._counts.get(parent_id, Counter[TaskStatus]())
        return {status: number for status, number in known.items() if number}

    def census(self, now: float) -> Census:
        """As `Store.census`."""
        return census_of(self._tasks.values(), now=now)

    def _in_order(self, ids: Iterable[str]) -> list[Task]:
        return [self._tasks[name] for name in sorted(ids, key=self._places.__getitem__)]

    def _key(self, task: Task) -> tuple[float, int, str]:
        return rank(task), self._places[task.task_id], task.task_id

    def _link(self, task: Task) -> None:
        if task.status is TaskStatus.PENDING and not task.waiting_on:
            insort(self._lanes[_lane(task)], self._key(task))
        if task.status.is_leased:
            self._leased.add(task.task_id)
        for name in task.waiting_on:
            self._waiting[name].add(task.task_id)
        if task.unique_key is not None and not task.status.is_final:
            self._unique[task.unique_key] = task.task_id
        self._counts[None][task.status] += 1
        if task.parent_id is not None:
            self._children[task.parent_id].add(task.task_id)
            self._counts[task.parent_id][task.status] += 1
            if task.status is TaskStatus.PENDING:
                insort(self._lines[task.parent_id, task.priority], rank(task))

    def _unlink(self, task: Task) -> None:
        if task.status is TaskStatus.PENDING and not task.waiting_on:
            _remove(self._lanes, _lane(task), self._key(task))
        self._leased.discard(task.task_id)
        for name in task.waiting_on:
            _discard(self._waiting, name, task.task_id)
        if task.unique_key is not None and self._unique.get(task.unique_key) == task.task_id:
            del self._unique[task.unique_key]
        self._counts[None][task.status] -= 1
        if task.parent_id is not None:
            _discard(self._children, task.parent_id, task.task_id)
            self._counts[task.parent_id][task.status] -= 1
            if not self._children.get(task.parent_id):
                del self._counts[task.parent_id]
            if task.status is TaskStatus.PENDING:
                _remove(self._lines, (task.parent_id, task.priority), rank(task))


def _lane(task: Task) -> _Lane:
    return task.task_type, task.requires, task.limit_key


def _remove(lists: dict[Any, list[Any]], key: object, member: object) -> None:
    """Take a member out of a sorted list, and an empty list out of the lists."""
    members = lists[key]
    del members[bisect_left(members, member)]
    if not members:
        del lists[key]


def _discard(sets: dict[str, set[str]], key: str, member: str) -> None:
    sets[key].discard(member)
    if not sets[key]:
        del sets[key]
