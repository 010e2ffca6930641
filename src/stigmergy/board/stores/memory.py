"""A board in this process's memory: for tests, and as the oracle of the other stores."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace

from stigmergy.board.store import Clock, Match, Query
from stigmergy.board.stores.index import TaskIndex
from stigmergy.board.task import Event, Json, Task, TaskStatus, encode_json
from stigmergy.errors import UsageError

__all__ = ["MemoryStore", "MemoryTransaction", "detached"]


class MemoryStore:
    """A `Store` that ends with its process. Cannot be shared with another one."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._index = TaskIndex()
        self._events: list[Event] = []
        self._changed = threading.Condition(threading.RLock())
        self._closed = False

    @property
    def url(self) -> str:
        """Always `memory:`, which names no particular board."""
        return "memory:"

    @contextmanager
    def transaction(self) -> Generator[MemoryTransaction]:
        """See `Store.transaction`."""
        with self._open():
            transaction = MemoryTransaction(self._index, now=self._clock())
            try:
                yield transaction
            except BaseException:
                transaction.undo()
                raise
            self._keep(transaction.events)

    @contextmanager
    def _open(self) -> Generator[None]:
        with self._changed:
            if self._closed:
                raise UsageError("this board is closed; open it again")
            yield

    def _keep(self, drafts: list[Event]) -> None:
        first = len(self._events) + 1
        self._events.extend(
            Event(
                seq=first + place,
                at=draft.at,
                kind=draft.kind,
                task_id=draft.task_id,
                agent_id=draft.agent_id,
                data=draft.data,
            )
            for place, draft in enumerate(drafts)
        )
        if drafts:
            self._changed.notify_all()

    def get(self, task_id: str) -> Task | None:
        """See `Store.get`."""
        with self._open():
            task = self._index.get(task_id)
            return None if task is None else detached(task)

    def select(self, query: Query) -> list[Task]:
        """See `Store.select`."""
        with self._open():
            return [detached(task) for task in self._index.select(query)]

    def counts(self, parent_id: str | None) -> dict[TaskStatus, int]:
        """See `Store.counts`."""
        with self._open():
            return self._index.counts(parent_id)

    def events(self, *, after: int, limit: int, task_id: str | None = None) -> list[Event]:
        """See `Store.events`."""
        with self._open():
            later = self._events[max(after, 0) :]
        if task_id is not None:
            later = [event for event in later if event.task_id == task_id]
        return later[: max(limit, 0)]

    def wait(self, *, after: int, timeout_s: float) -> bool:
        """See `Store.wait`."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self._events) > after, timeout_s)

    def close(self) -> None:
        """See `Store.close`."""
        with self._changed:
            self._closed = True


class MemoryTransaction:
    """A `Transaction` that writes at once and remembers how to undo it."""

    def __init__(self, index: TaskIndex, *, now: float) -> None:
        self._index = index
        self._now = now
        self._before: dict[str, Task | None] = {}
        self.events: list[Event] = []

    @property
    def now(self) -> float:
        """See `Transaction.now`."""
        return self._now

    def get(self, task_id: str) -> Task | None:
        """See `Transaction.get`."""
        task = self._index.get(task_id)
        return None if task is None else detached(task)

    def put(self, task: Task) -> None:
        """See `Transaction.put`."""
        kept = detached(task)
        self._before.setdefault(task.task_id, self._index.get(task.task_id))
        self._index.put(kept)

    def forget(self, task_id: str) -> None:
        """Take a task off the board, which only a person's hand may do."""
        self._before.setdefault(task_id, self._index.get(task_id))
        self._index.remove(task_id)

    def append(
        self, kind: str, *, task_id: str = "", agent_id: str = "", data: dict[str, object]
    ) -> None:
        """See `Transaction.append`."""
        kept = json.loads(encode_json(data, what=f"the data of event {kind!r}"))
        self.events.append(
            Event(seq=0, at=self._now, kind=kind, task_id=task_id, agent_id=agent_id, data=kept)
        )

    def ready(self, match: Match, *, limit: int) -> list[Task]:
        """See `Transaction.ready`."""
        return self._index.ready(match, limit=limit, now=self._now)

    def expired(self, *, limit: int) -> list[Task]:
        """See `Transaction.expired`."""
        return self._index.expired(limit=limit, now=self._now)

    def dependents(self, task_id: str) -> list[Task]:
        """See `Transaction.dependents`."""
        return self._index.dependents(task_id)

    def select(self, query: Query) -> list[Task]:
        """See `Transaction.select`."""
        return self._index.select(query)

    @property
    def written(self) -> list[Task]:
        """The tasks that this transaction put, as they stand."""
        return [task for name in self._before if (task := self._index.get(name)) is not None]

    def undo(self) -> None:
        """Put back what stood before."""
        for name, task in self._before.items():
            if task is None:
                self._index.remove(name)
            else:
                self._index.put(task)


def detached(task: Task) -> Task:
    """The task with a payload and a result of its own, so no caller changes another's."""
    if not task.payload and not task.result:
        return task
    what = f"task {task.task_id!r}"
    payload: Json = json.loads(encode_json(task.payload, what=f"the payload of {what}"))
    result: Json = json.loads(encode_json(task.result, what=f"the result of {what}"))
    return replace(task, payload=payload, result=result)
