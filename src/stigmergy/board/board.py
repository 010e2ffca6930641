"""The task board: what every agent calls.

`TaskBoard` is the one place where the pure lifecycle meets a store: each public verb reads,
decides and writes within one transaction and journals what happened in the same. It knows no
agent and starts no thread. Reading is in `looking`, steering in `steering`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

from stigmergy.board import lifecycle
from stigmergy.board.aftermath import (
    DEAD,
    check_acyclic,
    existing,
    fail_dependents,
    is_completed,
    settle,
)
from stigmergy.board.clockwatch import ClockWatch, machine_clock_watch
from stigmergy.board.intake import (
    Limits,
    check_agent_id,
    check_batch,
    check_names,
    check_seconds,
    tidy_text,
)
from stigmergy.board.lifecycle import Backoff
from stigmergy.board.looking import Progress, names_of
from stigmergy.board.posting import OnDuplicate, is_fair, is_simple
from stigmergy.board.posting import post as post_batch
from stigmergy.board.rules import Rules
from stigmergy.board.steering import Steering
from stigmergy.board.store import (
    Exchange,
    Exchanged,
    Extension,
    Match,
    Query,
    Store,
    Transaction,
    open_store,
)
from stigmergy.board.taking import LEASED, exchange, reap
from stigmergy.board.task import JsonObject, Lease, Task
from stigmergy.board.upkeep import tend
from stigmergy.errors import LostLeaseError, UsageError

__all__ = ["DEFAULT_LEASE_S", "Progress", "TaskBoard"]

DEFAULT_LEASE_S: Final = 300.0


class TaskBoard(Steering):
    """A durable board of tasks. Thread-safe; open one in each process.

    Args:
        storage_path: a URL or path as `open_store` takes it; a folder keeps one
            `<task_id>.json` for each task.
        store: an open store instead of a path.
        lease_s: how long a claim holds without a renewal.
        backoff: how long a failed attempt waits for the next.
        limits: what the board takes.
        clock_watch: notices that the board's clock was set; by default that of the machine, for
            a board that a path names.
    """

    def __init__(
        self,
        storage_path: str | Path | None = None,
        *,
        store: Store | None = None,
        lease_s: float = DEFAULT_LEASE_S,
        backoff: Backoff | None = None,
        limits: Limits | None = None,
        clock_watch: ClockWatch | None = None,
    ) -> None:
        if (storage_path is None) == (store is None):
            raise UsageError("a board needs a storage_path or a store, and not both")
        self._lease_s = check_seconds(lease_s, what="lease_s")
        self._backoff = backoff or Backoff()
        opened = store if store is not None else open_store(storage_path or "")
        super().__init__(opened, limits or Limits())
        self._clock_watch = clock_watch
        if clock_watch is None and store is None and opened.is_local:
            self._clock_watch = machine_clock_watch()

    # Posting ---------------------------------------------------------------------------------

    def post(self, task: Task, *, on_duplicate: OnDuplicate = "keep") -> str:
        """Put one task on the board; see `post_many`. Returns its id."""
        return self.post_many([task], on_duplicate=on_duplicate)[0]

    def post_many(self, tasks: Iterable[Task], *, on_duplicate: OnDuplicate = "keep") -> list[str]:
        """Put tasks on the board, all or none; they may depend on each other in any order.

        Idempotent: a task that stands there as it was posted is left alone.

        Args:
            tasks: as new.
            on_duplicate: what to do when an unfinished task has the `unique_key` of a posted one:
                `keep` that and post nothing, `refuse`, or `replace` what it says if nobody has
                begun it. Of two in one call the first counts as the one that was there.

        Returns the ids under which the tasks stand on the board, in the order given; of a
        duplicate that is the id of the one that was there.

        Raises:
            UsageError: a task is malformed or too large, an id is taken by another task, a
                dependency is unknown, dependencies form a cycle, or a duplicate is refused.
        """
        if on_duplicate not in ("keep", "refuse", "replace"):
            raise UsageError(f"on_duplicate is {on_duplicate!r}: take keep, refuse or replace")
        batch = check_batch(tasks, self._intake)
        if not batch:
            return []
        shortcuts = self._store.shortcuts
        if (
            shortcuts is not None
            and all(is_simple(task) for task in batch.values())
            and shortcuts.post(list(batch.values())) is not None
        ):
            return list(batch)
        with self._store.transaction() as tx:
            ids = post_batch(tx, batch, on_duplicate=on_duplicate, fair=is_fair(tx))
        return list(ids.values())

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

    def claim_within(
        self,
        agent_id: str,
        *,
        wait_s: float,
        capabilities: Iterable[str] = (),
        task_types: Iterable[str] | None = None,
        lease_s: float | None = None,
    ) -> Task | None:
        """As `claim`; if there is none now, sleep until it may be worth asking again.

        That is when something happens on the board, at the latest after `wait_s`. It does not
        ask again by itself.
        """
        last = self.last_seq()
        task = self.claim(
            agent_id, capabilities=capabilities, task_types=task_types, lease_s=lease_s
        )
        if task is None:
            self.wait(after=last, timeout_s=wait_s)
        return task

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
        return self.complete_and_claim(
            agent_id,
            (),
            limit,
            capabilities=capabilities,
            task_types=task_types,
            lease_s=lease_s,
        )

    def complete_and_claim(
        self,
        agent_id: str,
        results: Iterable[tuple[Lease | Task, JsonObject]],
        limit: int = 1,
        *,
        capabilities: Iterable[str] = (),
        task_types: Iterable[str] | None = None,
        lease_s: float | None = None,
    ) -> list[Task]:
        """Hand in results and take up to `limit` next tasks, all in one transaction.

        As `complete_many` and `claim_many` after each other, at the price of one of them.

        Raises:
            LostLeaseError: one of the leases is no longer held; nothing was written or claimed.
        """
        check_agent_id(agent_id)
        if limit < 0:
            raise UsageError(f"limit is {limit}: how many tasks to claim cannot be negative")
        order = Exchange(
            agent_id=agent_id,
            results=[(lease, result, None) for lease, result in self._checked(results)],
            match=Match(
                capabilities=frozenset(check_names(capabilities, what="capabilities")),
                task_types=names_of(task_types, what="task_types"),
            ),
            limit=limit,
            lease_s=self._duration_s(lease_s),
            tells_completed=False,
            clock=self._clock_watch,
        )
        return self._exchange(order).claimed

    def _checked(
        self, results: Iterable[tuple[Lease | Task, JsonObject]]
    ) -> list[tuple[Lease, JsonObject]]:
        return [
            (_lease(held), self._intake.check_result(held.task_id, result))
            for held, result in results
        ]

    def _exchange(self, order: Exchange) -> Exchanged:
        shortcuts = self._store.shortcuts
        if shortcuts is not None:
            done = shortcuts.exchange(order)
            if done is not None:
                return done
        if not order.limit:
            with self._store.transaction() as tx:
                return exchange(tx, order, Rules())
        with self._settled_transaction() as tx:
            return exchange(tx, order, self._tend(tx))

    def _settled_transaction(self) -> AbstractContextManager[Transaction]:
        """One in which leases may be made or judged."""
        transaction, watch = self._store.transaction(), self._clock_watch
        return transaction if watch is None else watch.settling(transaction)

    def _tend(self, tx: Transaction) -> Rules:
        """What comes before a claim: expired leases, due schedules. The rules as they stand."""
        reap(tx, self._backoff)
        rules = Rules.of(tx.rules())
        tend(tx, rules)
        return rules

    def reap(self) -> int:
        """Return tasks with expired leases to the board; how many. Every claim does it too."""
        with self._settled_transaction() as tx:
            return reap(tx, self._backoff)

    # Reporting, with the lease ---------------------------------------------------------------

    def start(self, held: Lease | Task) -> Task:
        """Say that work has begun. Idempotent."""
        return self._extend(Extension(lease=_lease(held), start=True))

    def renew(self, held: Lease | Task, *, lease_s: float | None = None) -> Lease:
        """Hold on for `lease_s` from now. Not journaled."""
        lease = _lease(held)
        duration_s = self._duration_s(lease_s)
        task = self._extend(Extension(lease=lease, lease_s=duration_s, clock=self._clock_watch))
        return replace(lease, deadline=task.lease_until or lease.deadline)

    def report(
        self, held: Lease | Task, progress: JsonObject, *, lease_s: float | None = None
    ) -> Task:
        """Say how far the work is, for whoever watches; renews the lease and starts the task.

        `progress` is what `Task.progress` then is, e.g. `{"done": 3, "total": 10}`.

        Raises:
            LostLeaseError: the lease is no longer held.
            UsageError: it is no JSON object, or too large.
        """
        lease = _lease(held)
        told = self._intake.check_progress(lease.task_id, progress)
        return self._extend(
            Extension(
                lease=lease,
                lease_s=self._duration_s(lease_s),
                start=True,
                progress=told,
                clock=self._clock_watch,
            )
        )

    def _extend(self, order: Extension) -> Task:
        shortcuts = self._store.shortcuts
        if shortcuts is not None:
            task = shortcuts.extend(order)
            if task is not None:
                return task
        lease, progress, renews = order.lease, order.progress, order.lease_s is not None
        with self._settled_transaction() if renews else self._store.transaction() as tx:
            before = task = existing(tx, lease.task_id)
            if order.lease_s is not None:
                task = lifecycle.renew(task, lease, now=tx.now, lease_s=order.lease_s)
            if order.start:
                task = lifecycle.start(task, lease)
            if progress is not None:
                task = replace(task, progress=progress)
            if task != before:
                tx.put(task)
            if task.status is not before.status:
                tx.append("started", task_id=task.task_id, agent_id=lease.agent_id, data={})
            if progress is not None:
                tx.append("reported", task_id=task.task_id, agent_id=lease.agent_id, data=progress)
        return task

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
        ((lease, checked),) = self._checked([(held, result or {})])
        return self._complete([(lease, checked, note)])[0]

    def complete_many(self, results: Iterable[tuple[Lease | Task, JsonObject]]) -> list[Task]:
        """Hand in results, all or none. What waited for these tasks alone becomes ready.

        Idempotent for the same lease and result.

        Raises:
            LostLeaseError: one of the leases is no longer held; nothing was written.
            UsageError: a result is too large or not JSON.
        """
        return self._complete([(lease, result, None) for lease, result in self._checked(results)])

    def _complete(self, results: list[tuple[Lease, JsonObject, JsonObject | None]]) -> list[Task]:
        if not results:
            return []
        order = Exchange(
            agent_id=results[0][0].agent_id,
            results=results,
            lease_s=self._lease_s,
        )
        return self._exchange(order).completed

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
        batch = check_batch(post, self._intake)
        with self._store.transaction() as tx:
            ids = post_batch(tx, batch, on_duplicate="keep", fair=is_fair(tx))
            names = tuple(dict.fromkeys(ids.get(name, name) for name in names))
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
            for task in tx.select(Query(statuses=LEASED)):
                if (lease := task.lease) is None or not agents(lease.agent_id):
                    continue
                after = lifecycle.release(task, lease)
                tx.put(after)
                data: JsonObject = {"reason": tidy_text(reason, self._limits), "wait_for": []}
                tx.append("released", task_id=task.task_id, agent_id=lease.agent_id, data=data)
                released.append(after)
        return released


def _lease(held: Lease | Task) -> Lease:
    if isinstance(held, Lease):
        return held
    if (lease := held.lease) is None:
        raise LostLeaseError(
            held.task_id, agent_id=held.claimed_by or "?", fence=held.fence, reason="never claimed"
        )
    return lease
