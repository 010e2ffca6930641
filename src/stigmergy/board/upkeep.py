"""What a board does for itself while it is used: recurring tasks, retention.

Within the transaction of a claim, and bounded, so that no claim pays for a long absence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from stigmergy.board.posting import post
from stigmergy.board.rules import Retention, Rules, Schedule
from stigmergy.board.store import Query, Transaction
from stigmergy.board.task import Task, TaskStatus

__all__ = ["PRUNED_AT_ONCE", "Pruned", "before", "prune", "tend"]

PRUNED_AT_ONCE: Final = 500
_RETENTION_EVERY_S: Final = 60.0
_RETENTION_SOON_S: Final = 1.0
"""When there was more than one claim may drop."""
_OPEN: Final = frozenset({TaskStatus.PENDING, TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was taken off a board."""

    tasks: int = 0
    events: int = 0
    blobs: int = 0


def tend(tx: Transaction, rules: Rules) -> None:
    """Post what schedules have due, and drop what retention does not keep."""
    for schedule in rules.schedules:
        if schedule.next_at is not None and schedule.next_at <= tx.now:
            _fire(tx, schedule, schedule.next_at, fair=rules.is_fair)
    due_at = rules.retention_due_at
    if rules.retention is not None and due_at is not None and due_at <= tx.now:
        pause_s = _RETENTION_EVERY_S if _retain(tx, rules.retention) else _RETENTION_SOON_S
        tx.put_rule(rules.retention.rule(next_at=tx.now + pause_s))


def _fire(tx: Transaction, schedule: Schedule, due_at: float, *, fair: bool) -> None:
    task = schedule.due_task(at=due_at)
    if tx.get(task.task_id) is None:
        post(tx, {task.task_id: task}, on_duplicate="keep", fair=fair)
    tx.put_rule(replace(schedule, next_at=schedule.following(tx.now)).rule())


def _retain(tx: Transaction, retention: Retention) -> bool:
    """Whether that was all."""
    is_all = True
    for status, seconds in (
        (TaskStatus.COMPLETED, retention.completed_s),
        (TaskStatus.FAILED, retention.failed_s),
        (TaskStatus.CANCELLED, retention.cancelled_s),
    ):
        if seconds is not None:
            dropped = prune(tx, [status], older_than_s=seconds, limit=PRUNED_AT_ONCE)
            is_all = is_all and len(dropped) < PRUNED_AT_ONCE
    if retention.events_s is not None:
        tx.forget_events(before=before(tx, retention.events_s))
    return is_all


def before(tx: Transaction, age_s: float) -> float:
    """The time before which things are of that age; all are of the age 0."""
    return tx.now - age_s if age_s else math.inf


def prune(
    tx: Transaction, statuses: Iterable[TaskStatus], *, older_than_s: float, limit: int
) -> list[Task]:
    """Drop finished tasks; those dropped. Nothing waits for such a task any more."""
    wanted = frozenset(statuses) - _OPEN
    old = tx.select(Query(statuses=wanted, finished_before=before(tx, older_than_s), limit=limit))
    for task in old:
        tx.forget(task.task_id)
    if old:
        tx.append("pruned", data={"tasks": len(old)})
    return old
