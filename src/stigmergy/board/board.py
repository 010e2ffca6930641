"""The task board: what every agent calls.

`TaskBoard` is the one place where the pure lifecycle meets a store: each public verb reads,
decides and writes within one transaction and journals what happened in the same. It knows no
agent and starts no thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from stigmergy.board import lifecycle
from stigmergy.board.aftermath import (
    DEAD,
    check_acyclic,
    existing,
    fail_dependents,
    is_completed,
    revive,
    settle,
)
from stigmergy.board.intake import (
    Limits,
    check_agent_id,
    check_batch,
    check_event,
    check_names,
    check_result,
    check_seconds,
    is_posted_already,
    tidy_text,
)
from stigmergy.board.lifecycle import Backoff
from stigmergy.board.store import Match, Query, Store, Transaction, open_store
from stigmergy.board.task import Event, JsonObject, Lease, Task, TaskStatus
from stigmergy.errors import LostLeaseError, UsageError

__all__ = ["DEFAULT_LEASE_S", "Progress", "TaskBoard"]

DEFAULT_LEASE_S: Final = 300.0
_REAPED_AT_ONCE: Final = 100
"""Expired leases that one claim returns to the board, so that a claim's time is bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a set of tasks has come."""

    total: int
    pending: int
    in_progress: int
    completed: int
    failed: int
    cancelled: int

    @property
    def is_complete(self) -> bool:
        """Nothing is left to do: every task is completed, failed or cancelled."""
        return self.completed + self.failed + self.cancelled == self.total

    @property
    def progress_pct(self) -> float:
        """Completed tasks of all, 0.0 to 100.0; 100.0 of none."""
        return 100.0 if self.total == 0 else 100.0 * self.completed / self.total


class TaskBoard:
    """A durable board of tasks. Thread-safe; open one in each process.

    Args:
        storage_path: a URL or path as `open_store` takes it; a folder keeps one
            `<task_id>.json` for each task.
        store: an open store instead of a path.
        lease_s: how long a claim holds without a renewal.
        backoff: how long a failed attempt waits for the next.
        limits: what the board takes.
    """

    def __init__(
        self,
        storage_path: str | Path | None = None,
        *,
        store: Store | None = None,
        lease_s: float = DEFAULT_LEASE_S,
        backoff: Backoff | None = None,
        limits: Limits | None = None,
    ) -> None:
        if (storage_path is None) == (store is None):
            raise UsageError("a board needs a storage_path or a store, and not both")
        self._lease_s = check_seconds(lease_s, what="lease_s")
        self._store = store if store is not None else open_store(storage_path or "")
        self._backoff = backoff or Backoff()
        self._limits = limits or Limits()

    @property
    def url(self) -> str:
        """What opens the same board in another process."""
        return self._store.url

    def close(self) -> None:
        """Let go of the store. Idempotent."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Posting ---------------------------------------------------------------------------------

    def post(self, task: Task) -> str:
        """Put one task on the board; see `post_many`. Returns its id."""
        return self.post_many([task])[0]

    def post_many(self, tasks: Iterable[Task]) -> list[str]:
        """Put tasks on the board, all or none; they may depend on each other in any order.

        Idempotent: a task that stands there as it was posted is left alone.

        Raises:
            UsageError: a task is malformed or too large, an id is taken by another task, a
                dependency is unknown, or dependencies form a cycle.
        """
        batch = check_batch(tasks, self._limits)
        with self._store.transaction() as tx:
            _post(tx, batch)
        return list(batch)

    # Taking ----------------------------------------------------------------------------------

    def claim(
        self,
        agent_id: str,
        *,
        capabilities: Iterable[str] = (),
        task_types: Iterable[str] | None = None,
        lease_s: float | None = None,
    ) -> Task | None:
        """The next task for such an agent, held by it; None when there is none now."""
        claimed = self.claim_many(
            agent_id, 1, capabilities=capabilities, task_types=task_types, lease_s=lease_s
        )
        return claimed[0] if claimed else None

    def claim_many(
        self,
        agent_id: str,
        limit: int,
        *,
        capabilities: Iterable[str] = (),
        task_types: Iterable[str] | None = None,
        lease_s: float | None = None,
    ) -> list[Task]:
        """Up to `limit` tasks at once. Leases that ran out return to the board first."""
        check_agent_id(agent_id)
        if limit < 0:
            raise UsageError(f"limit is {limit}: how many tasks to claim cannot be negative")
        match = Match(
            capabilities=frozenset(check_names(capabilities, what="capabilities")),
            task_types=_names(task_types, what="task_types"),
        )
        duration = self._duration_s(lease_s)
        with self._store.transaction() as tx:
            self._reap(tx)
            claimed = [
                lifecycle.claim(task, agent_id=agent_id, now=tx.now, lease_s=duration)
                for task in tx.ready(match, limit=limit)
            ]
            for task in claimed:
                tx.put(task)
                data: JsonObject = {"attempt": task.attempts, "fence": task.fence}
                tx.append("claimed", task_id=task.task_id, agent_id=agent_id, data=data)
        return claimed

    def reap(self) -> int:
        """Return tasks with expired leases to the board; how many. Every claim does it too."""
        with self._store.transaction() as tx:
            return self._reap(tx)

    def _reap(self, tx: Transaction) -> int:
        expired = tx.expired(limit=_REAPED_AT_ONCE)
        for task in expired:
            after = lifecycle.expire(task, now=tx.now, backoff=self._backoff)
            settle(tx, after, "expired", agent_id=task.claimed_by or "")
        return len(expired)

    # Reporting, with the lease ---------------------------------------------------------------

    def start(self, held: Lease | Task) -> Task:
        """Say that work has begun. Idempotent."""
        lease = _lease(held)
        with self._store.transaction() as tx:
            before = existing(tx, lease.task_id)
            task = lifecycle.start(before, lease)
            if task != before:
                tx.put(task)
                tx.append("started", task_id=task.task_id, agent_id=lease.agent_id, data={})
        return task

    def renew(self, held: Lease | Task, *, lease_s: float | None = None) -> Lease:
        """Hold on for `lease_s` from now. Not journaled."""
        lease = _lease(held)
        duration = self._duration_s(lease_s)
        with self._store.transaction() as tx:
            before = existing(tx, lease.task_id)
            task = lifecycle.renew(before, lease, now=tx.now, lease_s=duration)
            tx.put(task)
        return replace(lease, deadline=task.lease_until or lease.deadline)

    def _duration_s(self, lease_s: float | None) -> float:
        return self._lease_s if lease_s is None else check_seconds(lease_s, what="lease_s")

    def complete(
        self,
        held: Lease | Task,
        result: JsonObject | None = None,
        *,
        note: JsonObject | None = None,
    ) -> Task:
        """Hand in the result; see `complete_many`. `note` is told by the journal's line as well."""
        lease = _lease(held)
        checked = check_result(lease.task_id, result or {}, self._limits)
        with self._store.transaction() as tx:
            return _complete(tx, lease, checked, note)

    def complete_many(self, results: Iterable[tuple[Lease | Task, JsonObject]]) -> list[Task]:
        """Hand in results, all or none. What waited for these tasks alone becomes ready.

        Idempotent for the same lease and result.

        Raises:
            LostLeaseError: one of the leases is no longer held; nothing was written.
            UsageError: a result is too large or not JSON.
        """
        checked = [
            (_lease(held), check_result(held.task_id, result, self._limits))
            for held, result in results
        ]
        with self._store.transaction() as tx:
            return [_complete(tx, lease, result, None) for lease, result in checked]

    def fail(
        self,
        held: Lease | Task,
        error: str,
        *,
        retry: bool = True,
        note: JsonObject | None = None,
    ) -> Task:
        """Report that the attempt failed. With `retry` it is tried again while attempts last.

        `note` is told by the journal's line as well.
        """
        lease = _lease(held)
        with self._store.transaction() as tx:
            task = lifecycle.fail(
                existing(tx, lease.task_id),
                lease,
                error=tidy_text(error, self._limits),
                retry=retry,
                now=tx.now,
                backoff=self._backoff,
            )
            settle(tx, task, "failed", agent_id=lease.agent_id, note=note)
        return task

    def release(
        self,
        held: Lease | Task,
        *,
        wait_for: Iterable[str] = (),
        post: Iterable[Task] = (),
        delay_s: float = 0.0,
        reason: str = "",
        note: JsonObject | None = None,
    ) -> Task:
        """Give the task back unharmed: the attempt does not count.

        Args:
            held: the lease, or the task as claimed.
            wait_for: tasks that must be completed before it can be claimed again.
            post: tasks to post in the same transaction, as `post_many` does; they may be among
                `wait_for`.
            delay_s: it cannot be claimed again before that.
            reason: for the journal.
            note: told by the journal's line as well.

        Raises:
            UsageError: one of `wait_for` is unknown, or depends on this task.
        """
        lease = _lease(held)
        names = check_names(wait_for, what="wait_for")
        if delay_s:
            check_seconds(delay_s, what="delay_s")
        batch = check_batch(post, self._limits)
        with self._store.transaction() as tx:
            _post(tx, batch)
            missing = [name for name in names if tx.get(name) is None]
            if missing:
                raise UsageError(f"task {lease.task_id!r} cannot wait for {missing}: unknown")
            task = lifecycle.release(
                existing(tx, lease.task_id),
                lease,
                wait_for={name: is_completed(tx.get(name)) for name in names},
                not_before=tx.now + delay_s if delay_s else 0.0,
            )
            check_acyclic(tx, task)
            tx.put(task)
            why = tidy_text(reason, self._limits)
            data: JsonObject = {**(note or {}), "reason": why, "wait_for": list(names)}
            tx.append("released", task_id=task.task_id, agent_id=lease.agent_id, data=data)
            for name in names:
                if (needed := existing(tx, name)).status in DEAD:
                    fail_dependents(tx, needed)
            return existing(tx, lease.task_id)

    def release_all(self, agents: Callable[[str], bool], *, reason: str) -> list[Task]:
        """Take back every task held by an agent of such a name, because it is known to be dead.

        For a supervisor that holds proof (it owned the processes); the attempts do not count.
        """
        released: list[Task] = []
        with self._store.transaction() as tx:
            for task in tx.select(Query(statuses=_LEASED)):
                if (lease := task.lease) is None or not agents(lease.agent_id):
                    continue
                after = lifecycle.release(task, lease)
                tx.put(after)
                data: JsonObject = {"reason": tidy_text(reason, self._limits), "wait_for": []}
                tx.append("released", task_id=task.task_id, agent_id=lease.agent_id, data=data)
                released.append(after)
        return released

    # Steering --------------------------------------------------------------------------------

    def cancel(self, task_id: str, *, reason: str = "cancelled") -> Task:
        """Stop a task that is not finished. Its holder is refused when it reports or renews."""
        reason = tidy_text(reason, self._limits)
        with self._store.transaction() as tx:
            task = lifecycle.cancel(existing(tx, task_id), reason=reason, now=tx.now)
            settle(tx, task, "cancelled")
        return task

    def retry(self, task_id: str) -> Task:
        """Begin a failed or cancelled task anew, with the tasks that failed because of it.

        Raises:
            UsageError: it is neither, or depends on a task that is.
        """
        with self._store.transaction() as tx:
            return revive(tx, existing(tx, task_id))

    def record(
        self, kind: str, *, task_id: str = "", agent_id: str = "", data: JsonObject | None = None
    ) -> None:
        """Write a line of one's own into the journal: progress, a landing, a gate's verdict."""
        check_event(kind, task_id=task_id, agent_id=agent_id, data=data or {}, limits=self._limits)
        with self._store.transaction() as tx:
            tx.append(kind, task_id=task_id, agent_id=agent_id, data=data or {})

    # Looking ---------------------------------------------------------------------------------

    def get(self, task_id: str) -> Task | None:
        """The task as it stands, or None."""
        return self._store.get(task_id)

    def get_pending(self) -> list[Task]:
        """The tasks that nobody holds and that are not finished, in posting order."""
        return self.list_all(statuses=[TaskStatus.PENDING])

    def get_by_type(self, task_type: str) -> list[Task]:
        """All tasks of a type, in posting order."""
        return self.list_all(task_types=[task_type])

    def list_all(
        self,
        *,
        statuses: Iterable[TaskStatus] | None = None,
        task_types: Iterable[str] | None = None,
        parent_id: str | None = None,
        claimed_by: str | None = None,
    ) -> list[Task]:
        """Tasks that pass all the given filters, in posting order."""
        return self._store.select(
            Query(
                statuses=None if statuses is None else frozenset(statuses),
                task_types=_names(task_types, what="task_types"),
                parent_id=parent_id,
                claimed_by=claimed_by,
            )
        )

    def get_results_by_parent(self, parent_id: str) -> list[JsonObject]:
        """The results of a parent's completed children, in posting order."""
        done = self.list_all(statuses=[TaskStatus.COMPLETED], parent_id=parent_id)
        return [task.result or {} for task in done]

    def progress(self, parent_id: str | None = None) -> Progress:
        """How far a parent's children have come, or the whole board."""
        counts = self._store.counts(parent_id)
        return Progress(
            total=sum(counts.values()),
            pending=counts.get(TaskStatus.PENDING, 0),
            in_progress=sum(counts.get(status, 0) for status in _LEASED),
            completed=counts.get(TaskStatus.COMPLETED, 0),
            failed=counts.get(TaskStatus.FAILED, 0),
            cancelled=counts.get(TaskStatus.CANCELLED, 0),
        )

    def events(self, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """The journal from just after `after`, oldest first."""
        return self._store.events(after=after, limit=limit)

    def history(self, task_id: str) -> list[Event]:
        """What happened to one task, oldest first."""
        return self._store.events(after=0, limit=2**31, task_id=task_id)

    def wait(self, *, after: int, timeout_s: float) -> bool:
        """Sleep until the journal goes beyond `after`; False if the time ran out first."""
        return self._store.wait(after=after, timeout_s=timeout_s)

    def watch(
        self, *, after: int = 0, stop: threading.Event, idle_s: float = 0.25
    ) -> Generator[Event]:
        """Events as they happen, until `stop` is set (noticed within `idle_s`)."""
        while not stop.is_set():
            batch = self._store.events(after=after, limit=1000)
            for event in batch:
                yield event
                after = event.seq
            if not batch:
                self._store.wait(after=after, timeout_s=idle_s)


_LEASED: Final = frozenset({TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS})


def _names(names: Iterable[str] | None, *, what: str) -> frozenset[str] | None:
    return None if names is None else frozenset(check_names(names, what=what))


def _lease(held: Lease | Task) -> Lease:
    if isinstance(held, Lease):
        return held
    if (lease := held.lease) is None:
        raise LostLeaseError(
            held.task_id, agent_id=held.claimed_by or "?", fence=held.fence, reason="never claimed"
        )
    return lease


def _complete(tx: Transaction, lease: Lease, result: JsonObject, note: JsonObject | None) -> Task:
    before = existing(tx, lease.task_id)
    task = lifecycle.complete(before, lease, result=result, now=tx.now)
    if task != before:
        settle(tx, task, "completed", agent_id=lease.agent_id, note=note)
    return task


def _post(tx: Transaction, batch: Mapping[str, Task]) -> None:
    fresh = [task for task in batch.values() if not is_posted_already(tx.get(task.task_id), task)]
    for task in fresh:
        _insert(tx, task, batch)
    for name in dict.fromkeys(name for task in fresh for name in task.depends_on):
        if (needed := existing(tx, name)).status in DEAD:
            fail_dependents(tx, needed)


def _insert(tx: Transaction, task: Task, batch: Mapping[str, Task]) -> None:
    waiting: list[str] = []
    for name in task.depends_on:
        needed = tx.get(name)
        if needed is None and name not in batch:
            raise UsageError(
                f"task {task.task_id!r} depends on {name!r}, which is not on the board; "
                "post that first, or both together"
            )
        if needed is None or needed.status is not TaskStatus.COMPLETED:
            waiting.append(name)
    posted = replace(task, waiting_on=tuple(waiting), created_at=task.created_at or tx.now)
    tx.put(posted)
    tx.append(
        "posted",
        task_id=task.task_id,
        data={
            "task_type": task.task_type,
            "priority": task.priority,
            "parent_id": task.parent_id,
            "depends_on": list(task.depends_on),
        },
    )
