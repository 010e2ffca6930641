"""A board in this process's memory: for tests, and as the oracle of the other stores."""

from __future__ import annotations

import json
import threading
from bisect import bisect_right
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

from stigmergy.board.census import Census, tally_of
from stigmergy.board.store import Clock, Match, Query, Rule
from stigmergy.board.stores.index import TaskIndex
from stigmergy.board.task import Event, Task, TaskStatus, encode_json
from stigmergy.errors import UsageError

__all__ = ["MemoryStore", "MemoryTransaction", "detached", "grows"]


class MemoryStore:
    """A `Store` that ends with its process. Cannot be shared with another one."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._index = TaskIndex()
        self._rules: dict[str, Rule] = {}
        self._events: list[Event] = []
        self._changed = threading.Condition(threading.RLock())
        self._closed = False

    @property
    def url(self) -> str:
        """Always `memory:`, which names no particular board."""
        return "memory:"

    @property
    def is_local(self) -> bool:
        """See `Store.is_local`."""
        return False

    @property
    def blobs(self) -> None:
        """There is no folder."""
        return

    @property
    def shortcuts(self) -> None:
        """It has none: it is what short cuts are compared with."""
        return

    @contextmanager
    def transaction(self) -> Generator[MemoryTransaction]:
        """See `Store.transaction`."""
        with self._open():
            tx = MemoryTransaction(
                self._index,
                self._rules,
                now=self._clock(),
                has_events=bool(self._events),
                count_events=self._count_events,
            )
            try:
                yield tx
            except BaseException:
                tx.undo()
                raise
            self._keep(tx)

    def _count_events(self, before: float) -> int:
        return sum(event.at < before for event in self._events[:-1])

    @contextmanager
    def _open(self) -> Generator[None]:
        with self._changed:
            if self._closed:
                raise UsageError("this board is closed; open it again")
            yield

    def _keep(self, tx: MemoryTransaction) -> None:
        self._events.extend(tx.restored)
        first = self._events[-1].seq + 1 if self._events else 1
        self._events.extend(
            replace(draft, seq=first + place) for place, draft in enumerate(tx.events)
        )
        if tx.events_forgotten_before is not None:
            kept = [e for e in self._events[:-1] if e.at >= tx.events_forgotten_before]
            self._events = kept + self._events[-1:]
        if tx.events or tx.restored:
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

    def census(self, *, now: float) -> Census:
        """See `Store.census`."""
        with self._open():
            return self._index.census(now)

    def tally(self, *, after: int, since: float) -> dict[str, int]:
        """See `Store.tally`."""
        later = self.events(after=after, limit=2**31)
        return tally_of(event for event in later if event.at >= since)

    def events(self, *, after: int, limit: int, task_id: str | None = None) -> list[Event]:
        """See `Store.events`."""
        with self._open():
            later = self._events[bisect_right(self._events, after, key=_seq) :]
        if task_id is not None:
            later = [event for event in later if event.task_id == task_id]
        return later[: max(limit, 0)]

    def last_seq(self) -> int:
        """See `Store.last_seq`."""
        with self._open():
            return self._events[-1].seq if self._events else 0

    def wait(self, *, after: int, timeout_s: float) -> bool:
        """See `Store.wait`."""
        with self._changed:
            return self._changed.wait_for(
                lambda: bool(self._events) and self._events[-1].seq > after, timeout_s
            )

    def close(self) -> None:
        """See `Store.close`."""
        with self._changed:
            self._closed = True


class MemoryTransaction:
    """A `Transaction` that writes at once and remembers how to undo it."""

    def __init__(
        self,
        index: TaskIndex,
        rules: dict[str, Rule],
        *,
        now: float,
        has_events: bool,
        count_events: Callable[[float], int],
    ) -> None:
        self._index = index
        self._rules = rules
        self._now = now
        self._has_events = has_events
        self._count_events = count_events
        self._places: dict[str, int] = {}
        self._before: dict[str, Task | None] = {}
        self._rules_before: dict[str, Rule] | None = None
        self.events: list[Event] = []
        self.restored: list[Event] = []
        self.events_forgotten_before: float | None = None

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
        """See `Transaction.forget`."""
        self._before.setdefault(task_id, self._index.get(task_id))
        if (place := self._index.place(task_id)) is not None:
            self._places.setdefault(task_id, place)
        self._index.remove(task_id)

    def append(
        self, kind: str, *, task_id: str = "", agent_id: str = "", data: dict[str, object]
    ) -> None:
        """See `Transaction.append`."""
        kept = json.loads(encode_json(data, what=f"the data of event {kind!r}"))
        self.events.append(
            Event(seq=0, at=self._now, kind=kind, task_id=task_id, agent_id=agent_id, data=kept)
        )

    def restore(self, events: Sequence[Event]) -> None:
        """See `Transaction.restore`."""
        last = self.restored[-1].seq if self.restored else 0
        if self._has_events or self.events or not grows(events, after=last):
            raise UsageError("events are restored in their order, into an empty journal")
        self.restored += [
            replace(event, data=json.loads(encode_json(event.data, what=f"event {event.seq}")))
            for event in events
        ]

    def forget_events(self, *, before: float) -> int:
        """See `Transaction.forget_events`. Done when the transaction commits."""
        self.events_forgotten_before = before
        return self._count_events(before)

    def ready(self, match: Match, *, limit: int) -> list[Task]:
        """See `Transaction.ready`."""
        return self._index.ready(match, limit=limit, now=self._now)

    def expired(self, *, limit: int) -> list[Task]:
        """See `Transaction.expired`."""
        return self._index.expired(limit=limit, now=self._now)

    def dependents(self, task_id: str) -> list[Task]:
        """See `Transaction.dependents`."""
        return self._index.dependents(task_id)

    def holder(self, unique_key: str) -> Task | None:
        """See `Transaction.holder`."""
        return self._index.holder(unique_key)

    def tail(self, parent_id: str, priority: int) -> float | None:
        """See `Transaction.tail`."""
        return self._index.tail(parent_id, priority)

    def select(self, query: Query) -> list[Task]:
        """See `Transaction.select`."""
        return self._index.select(query)

    def rules(self) -> list[Rule]:
        """See `Transaction.rules`."""
        return [_copied(self._rules[name]) for name in sorted(self._rules)]

    def put_rule(self, rule: Rule) -> None:
        """See `Transaction.put_rule`."""
        self._remember_rules()
        self._rules[rule.name] = _copied(rule)

    def forget_rule(self, name: str) -> None:
        """See `Transaction.forget_rule`."""
        self._remember_rules()
        self._rules.pop(name, None)

    def _remember_rules(self) -> None:
        if self._rules_before is None:
            self._rules_before = dict(self._rules)

    def changed_rules(self) -> tuple[tuple[str, Rule | None], ...]:
        """The rules that this transaction changed, as they stand; None for those dropped."""
        before = self._rules_before or {}
        names = sorted(before.keys() | self._rules.keys())
        return tuple(
            (name, self._rules.get(name))
            for name in names
            if before.get(name) != self._rules.get(name)
        )

    @property
    def rules_changed(self) -> bool:
        """Some rule was put or dropped."""
        return self._rules_before is not None

    def before(self, task_id: str) -> Task | None:
        """The task as this transaction found it, if that put another in its place."""
        return self._before.get(task_id)

    @property
    def written(self) -> list[Task]:
        """The tasks that this transaction put, as they stand."""
        return [task for name in self._before if (task := self._index.get(name)) is not None]

    def undo(self) -> None:
        """Put back what stood before."""
        if self._rules_before is not None:
            self._rules.clear()
            self._rules.update(self._rules_before)
        for name, task in self._before.items():
            if task is None:
                self._index.remove(name)
                continue
            if (place := self._places.get(name)) is not None:
                self._index.remove(name)  # it may have been put again, elsewhere
            self._index.put(task, place=place)


def grows(events: Sequence[Event], *, after: int) -> bool:
    """Whether each `seq` is above the one before it."""
    seqs = [after, *(event.seq for event in events)]
    return all(earlier < later for earlier, later in pairwise(seqs))


def _copied(rule: Rule) -> Rule:
    """The rule with a body of its own."""
    return replace(rule, body=json.loads(encode_json(rule.body, what=f"the rule {rule.name!r}")))


def _seq(event: Event) -> int:
    return event.seq


def detached(task: Task) -> Task:
    """The task with JSON values of its own, so no caller changes another's."""
    own = {
        name: json.loads(encode_json(value, what=f"the {name} of task {task.task_id!r}"))
        for name in ("payload", "result", "progress")
        if (value := getattr(task, name))
    }
    return replace(task, **own) if own else task
