"""Tasks in memory, with the indexes that the Store seam's questions need.

The memory store is this and a lock; the files store is this and a journal. Not thread-safe: the
store that owns it holds its lock.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable
from heapq import merge
from itertools import count, islice

from stigmergy.board.lifecycle import is_ready, rank
from stigmergy.board.store import Match, Query
from stigmergy.board.task import Task, TaskStatus

__all__ = ["TaskIndex"]

_Lane = tuple[str, tuple[str, ...]]
"""Tasks that the same agents can take: the type, and what is required."""


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

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._tasks

    def get(self, task_id: str) -> Task | None:
        """The task of that id."""
        return self._tasks.get(task_id)

    def put(self, task: Task) -> None:
        """Insert or replace; a replaced task keeps its place."""
        if old := self._tasks.get(task.task_id):
            self._unlink(old)
        else:
            self._places[task.task_id] = next(self._next_place)
        self._tasks[task.task_id] = task
        self._link(task)

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
        lanes = (
            keys for (kind, requires), keys in self._lanes.items() if match.accepts(kind, requires)
        )
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

    def select(self, query: Query) -> list[Task]:
        """As `Store.select`."""
        if query.parent_id is None:
            return [task for task in self._tasks.values() if query.accepts(task)]
        return [
            t for t in self._in_order(self._children.get(query.parent_id, ())) if query.accepts(t)
        ]

    def counts(self, parent_id: str | None) -> dict[TaskStatus, int]:
        """As `Store.counts`."""
        totals: dict[TaskStatus, int] = {}
        for task in self.select(Query(parent_id=parent_id)):
            totals[task.status] = totals.get(task.status, 0) + 1
        return totals

    def _in_order(self, ids: Iterable[str]) -> list[Task]:
        return [self._tasks[name] for name in sorted(ids, key=self._places.__getitem__)]

    def _key(self, task: Task) -> tuple[float, int, str]:
        return rank(task), self._places[task.task_id], task.task_id

    def _link(self, task: Task) -> None:
        if task.status is TaskStatus.PENDING and not task.waiting_on:
            insort(self._lanes[task.task_type, task.requires], self._key(task))
        if task.status.is_leased:
            self._leased.add(task.task_id)
        for name in task.waiting_on:
            self._waiting[name].add(task.task_id)
        if task.parent_id is not None:
            self._children[task.parent_id].add(task.task_id)

    def _unlink(self, task: Task) -> None:
        if task.status is TaskStatus.PENDING and not task.waiting_on:
            lane = task.task_type, task.requires
            keys = self._lanes[lane]
            del keys[bisect_left(keys, self._key(task))]
            if not keys:
                del self._lanes[lane]
        self._leased.discard(task.task_id)
        for name in task.waiting_on:
            _discard(self._waiting, name, task.task_id)
        if task.parent_id is not None:
            _discard(self._children, task.parent_id, task.task_id)


def _discard(sets: dict[str, set[str]], key: str, member: str) -> None:
    sets[key].discard(member)
    if not sets[key]:
        del sets[key]
