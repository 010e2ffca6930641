"""What follows from a task's end, in the same transaction: who may go on and who never can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stigmergy.board import lifecycle
from stigmergy.board.store import Transaction
from stigmergy.board.task import JsonObject, Task, TaskStatus
from stigmergy.errors import NotFoundError, UsageError

__all__ = [
    "DEAD",
    "check_acyclic",
    "existing",
    "fail_dependents",
    "is_completed",
    "settle",
    "tell_dependents",
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
    data: JsonObject = {
        **(note or {}),
        "status": task.status.value,
        "attempt": task.attempts,
    }
    if task.error is not None:
        data["error"] = task.error
    if task.status is TaskStatus.PENDING:
        data["not_before"] = task.not_before
    tx.append(kind, task_id=task.task_id, agent_id=agent_id, data=data)
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
                reason="failed" if grave.status is TaskStatus.FAILED else "was cancelled",
                now=tx.now,
            )
            tx.put(failed)
            data: JsonObject = {"status": failed.status.value, "error": failed.error}
            tx.append("failed", task_id=failed.task_id, data=data)
            graves.append(failed)


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
