"""What follows from a task's end, in the same transaction: who may go on and who never can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stigmergy.board import lifecycle
from stigmergy.board.entries import ended_entry, posted_entry
from stigmergy.board.store import Transaction
from stigmergy.board.task import JsonObject, Task, TaskStatus
from stigmergy.errors import NotFoundError, UsageError

__all__ = [
    "DEAD",
    "check_acyclic",
    "existing",
    "fail_dependents",
    "is_completed",
    "revive",
    "settle",
    "tell_dependents",
    "unmet",
]

DEAD: Final = frozenset({TaskStatus.FAILED, TaskStatus.CANCELLED})
"""Final, and no good to those who wait."""


def existing(tx: Transaction, task_id: str) -> Task:
    """The task.

    Raises:
        NotFoundError: there is none.
    """
    if (task := tx.get(task_id)) is None:
        raise NotFoundError(f"no task {task_id!r} on this board")
    return task


def is_completed(task: Task | None) -> bool:
    """It is there and completed."""
    return task is not None and task.status is TaskStatus.COMPLETED


def settle(
    tx: Transaction,
    task: Task,
    kind: str,
    *,
    agent_id: str = "",
    note: JsonObject | None = None,
) -> None:
    """Write a task that has ended an attempt, journal it, and tell those who wait for it."""
    tx.put(task)
    tx.append(kind, task_id=task.task_id, agent_id=agent_id, data=ended_entry(task, note))
    tell_dependents(tx, task)


def tell_dependents(tx: Transaction, task: Task) -> None:
    """Free those who wait for a completed task, and fail those who wait for a dead one."""
    if task.status is TaskStatus.COMPLETED:
        for waiting in tx.dependents(task.task_id):
            tx.put(lifecycle.satisfy(waiting, task.task_id))
    elif task.status in DEAD:
        fail_dependents(tx, task)


def fail_dependents(tx: Transaction, dead: Task) -> None:
    """Fail whatever waits for a dead task, and what waits for that, each with the reason."""
    graves = [dead]
    while graves:
        grave = graves.pop()
        for waiting in tx.dependents(grave.task_id):
            if waiting.status is not TaskStatus.PENDING:
                continue
            failed = lifecycle.fail_for_dependency(
                waiting,
                dependency=grave.task_id,
                reason=_what_became_of(grave, root=dead),
                now=tx.now,
            )
            tx.put(failed)
            data: JsonObject = {"status": failed.status.value, "error": failed.error}
            tx.append("failed", task_id=failed.task_id, data=data)
            graves.append(failed)


def _what_became_of(grave: Task, *, root: Task) -> str:
    end = "failed" if grave.status is TaskStatus.FAILED else "was cancelled"
    if grave.task_id == root.task_id:
        return f"{end}: {root.error}" if root.error else end
    # However long the chain, what the reader wants to know is how it began.
    return f"{end} because of {root.task_id!r}: {root.error}" if root.error else end


def revive(tx: Transaction, task: Task) -> Task:
    """Begin a dead task anew, and with it the tasks that failed because of it.

    One of those whose unique key another has by now stays as it is, with what waits for it.

    Raises:
        UsageError: it is not dead, depends on one that is, or another has its unique key.
    """
    if (rival := _rival(tx, task)) is not None:
        raise UsageError(
            f"task {task.task_id!r} cannot begin anew: the unfinished task {rival.task_id!r} "
            f"has its unique_key {task.unique_key!r}"
        )
    reopened = _reopen(tx, task)
    if hopeless := [name for name in reopened.waiting_on if _is_dead(tx.get(name))]:
        raise UsageError(
            f"task {task.task_id!r} depends on {hopeless}, which failed, was cancelled or is "
            "gone: retry that first"
        )
    revived = [task]
    for known in revived:  # grows as it goes
        revived += _victims(tx, known)
    for victim in revived[1:]:
        if _rival(tx, victim) is None:
            _reopen(tx, victim)
    for victim in revived[1:]:
        for name in victim.depends_on:
            if (needed := tx.get(name)) is not None and needed.status in DEAD:
                fail_dependents(tx, needed)
    return reopened


def _victims(tx: Transaction, grave: Task) -> list[Task]:
    """The tasks that failed because this one did."""
    return [
        task
        for task in tx.dependents(grave.task_id)
        if task.status is TaskStatus.FAILED
        and (task.result or {}).get("dependency") == grave.task_id
    ]


def _rival(tx: Transaction, task: Task) -> Task | None:
    """The unfinished task that has its unique key."""
    return None if task.unique_key is None else tx.holder(task.unique_key)


def _reopen(tx: Transaction, task: Task) -> Task:
    reopened = lifecycle.reopen(task, waiting_on=unmet(tx, task))
    tx.put(reopened)
    data: JsonObject = {"was": task.status.value, **posted_entry(reopened)}
    tx.append("retried", task_id=task.task_id, data=data)
    return reopened


def unmet(tx: Transaction, task: Task) -> tuple[str, ...]:
    """Those of a task's dependencies that are not completed.

    One that is not on the board any more was pruned. It had been completed, unless this task
    waited for it still or failed because of it.
    """
    missed = {*task.waiting_on, (task.result or {}).get("dependency")}

    def is_met(name: str) -> bool:
        needed = tx.get(name)
        return name not in missed if needed is None else is_completed(needed)

    return tuple(name for name in task.depends_on if not is_met(name))


def _is_dead(task: Task | None) -> bool:
    return task is None or task.status in DEAD


def check_acyclic(tx: Transaction, changed: Task) -> None:
    """Refuse a task that would wait for itself, by however long a way.

    Raises:
        UsageError: it would; the text names the cycle.
    """

    def needs(name: str) -> Sequence[str]:
        task = changed if name == changed.task_id else tx.get(name)
        return () if task is None or task.status.is_final else task.waiting_on

    if cycle := lifecycle.find_cycle([changed.task_id], needs):
        raise UsageError(f"waiting would form a cycle: {' -> '.join(cycle)}")
