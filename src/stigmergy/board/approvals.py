"""Tasks that wait for a person: what one is, and what becomes of it when the person decides.

Such a task is of the type `approval` and requires the capability `person`, which no agent has. So
it stays on the board until somebody decides, and what depends on it waits with it: approved it is
completed, refused it fails, and what depends on it fails with the reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from stigmergy.board import lifecycle
from stigmergy.board.aftermath import settle
from stigmergy.board.entries import claimed_entry
from stigmergy.board.lifecycle import Backoff
from stigmergy.board.store import Transaction
from stigmergy.board.task import JsonObject, Task, TaskStatus, TaskType
from stigmergy.errors import UsageError

__all__ = ["PERSON", "Decision", "approval", "decide", "is_approval", "waits_for_person"]

PERSON: Final = "person"
"""The capability that an approval requires."""
_HELD_S: Final = 60.0
"""Of a lease that ends in the transaction in which it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a person said."""

    approved: bool
    by: str
    reason: str = ""

    def result(self) -> JsonObject:
        """As the task keeps it."""
        return {"approved": self.approved, "by": self.by, "reason": self.reason}


def approval(
    task_id: str,
    title: str,
    *,
    payload: JsonObject | None = None,
    parent_id: str | None = None,
    depends_on: Iterable[str] = (),
    priority: int = 1,
) -> Task:
    """A task that waits for a person.

    Args:
        task_id: names it to the person, too.
        title: what is asked; the first line stands in lists.
        payload: what the person needs to judge.
        parent_id: what it is a part of.
        depends_on: what must be completed before there is anything to judge.
        priority: its place among what waits for a person.
    """
    return Task(
        task_id=task_id,
        task_type=TaskType.APPROVAL,
        description=title,
        payload=payload or {},
        requires=(PERSON,),
        depends_on=tuple(depends_on),
        parent_id=parent_id,
        priority=priority,
        max_attempts=1,
    )


def is_approval(task: Task) -> bool:
    """A person decides on it, and nobody else."""
    return task.task_type == TaskType.APPROVAL and PERSON in task.requires


def waits_for_person(task: Task) -> bool:
    """A person can decide on it now."""
    return is_approval(task) and task.status is TaskStatus.PENDING and not task.waiting_on


def decide(tx: Transaction, task: Task, decision: Decision) -> Task:
    """Claim it for the person and complete or fail it, in this transaction.

    Told again what was decided already, it changes nothing: the first to say it stands.

    Raises:
        UsageError: the task is no approval, waits for others, is held, or was decided otherwise.
    """
    if not is_approval(task):
        raise UsageError(
            f"task {task.task_id!r} waits for no person: that is a task of type "
            f"{TaskType.APPROVAL.value!r} which requires {PERSON!r}"
        )
    if task.status in (TaskStatus.COMPLETED, TaskStatus.FAILED):
        return _as_decided(task, decision)
    if not waits_for_person(task):
        raise UsageError(f"task {task.task_id!r} cannot be decided now: {_why_not(task)}")
    held = lifecycle.claim(task, agent_id=decision.by, now=tx.now, lease_s=_HELD_S)
    tx.put(held)
    tx.append("claimed", task_id=task.task_id, agent_id=decision.by, data=claimed_entry(held))
    lease = held.lease
    assert lease is not None, "it was claimed just now"
    if decision.approved:
        after = lifecycle.complete(held, lease, result=decision.result(), now=tx.now)
        settle(tx, after, "completed", agent_id=decision.by, note=decision.result())
    else:
        after = _refused(held, decision, now=tx.now)
        settle(tx, after, "failed", agent_id=decision.by, note=decision.result())
    return after


def _refused(held: Task, decision: Decision, *, now: float) -> Task:
    lease = held.lease
    assert lease is not None, "it was claimed just now"
    error = f"refused by {decision.by}" + (f": {decision.reason}" if decision.reason else "")
    failed = lifecycle.fail(held, lease, error=error, retry=False, now=now, backoff=Backoff())
    return replace(failed, result={"error": error, **decision.result()})


def _as_decided(task: Task, decision: Decision) -> Task:
    result = task.result or {}
    decided = result.get("approved")
    if decided is decision.approved:
        return task
    if decided is None:
        raise UsageError(
            f"task {task.task_id!r} {task.status.value}: {task.error or 'no decision'}"
        )
    word, by = ("approved" if decided else "refused"), result.get("by")
    anew = "" if decided else "; retry it to decide anew"
    raise UsageError(f"task {task.task_id!r} was {word} by {by!r} already{anew}")


def _why_not(task: Task) -> str:
    if task.waiting_on:
        return f"it waits for {', '.join(task.waiting_on)}"
    if task.claimed_by is not None and task.status.is_leased:
        return f"{task.claimed_by!r} holds it"
    return f"it is {task.status.value}"
