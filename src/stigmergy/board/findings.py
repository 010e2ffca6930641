"""What can be wrong with a board. Pure: tasks, events and the time go in, findings come out.

A board that only this program wrote has none but overdue leases. The others come from a file that
somebody edited, a disk that failed, a clock that jumped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from stigmergy.board.aftermath import DEAD
from stigmergy.board.lifecycle import find_cycle
from stigmergy.board.task import Event, Task, TaskStatus

__all__ = ["Finding", "Kind", "check_tasks", "disagreement", "journaled_status", "needs_of"]

Kind = Literal[
    "waits-wrongly",
    "waits-for-dead",
    "waits-for-missing",
    "waits-in-circle",
    "lease-overdue",
    "lease-in-future",
    "journal-disagrees",
    "index-disagrees",
    "file-missing",
    "quarantined",
    "unreadable",
    "damaged",
]

_FAR_S: Final = 7 * 86400.0
"""No agent is silent for so long on purpose."""
_SKEW_S: Final = 60.0
"""What the clocks of one board's machines may be apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is not as it should be."""

    kind: Kind
    what: str
    """A sentence without its subject, which is the task: `waits for 'a', which is completed`."""
    task_id: str = ""
    """Empty where it is about the board."""
    can_mend: bool = False
    advice: str = ""
    """What a person can do where it cannot be mended."""
    is_note: bool = False
    """It is worth knowing, and stands in nobody's way."""


def check_tasks(tasks: Mapping[str, Task], *, now: float) -> Iterator[Finding]:
    """What is wrong with the tasks of a board, all of which are given by their ids."""
    for task in tasks.values():
        if task.status is TaskStatus.PENDING:
            yield from _check_waiting(task, tasks)
        elif task.status.is_leased:
            yield from _check_lease(task, now=now)

    def needs(name: str) -> Iterable[str]:
        task = tasks.get(name)
        return task.waiting_on if task is not None and not task.status.is_final else ()

    if cycle := find_cycle(tasks, needs):
        yield Finding(
            kind="waits-in-circle",
            task_id=cycle[0],
            what=f"waits for itself: {' -> '.join(cycle)}",
            advice="cancel one of them",
        )


def needs_of(task: Task, tasks: Mapping[str, Task]) -> tuple[str, ...]:
    """What the task should wait for. Of a task that is gone only what it waited for is known."""
    return tuple(
        name
        for name in task.depends_on
        if (name in task.waiting_on if (needed := tasks.get(name)) is None else _is_open(needed))
    )


def disagreement(task: Task | None, events: Iterable[Event]) -> str | None:
    """What the journal says of a task that its state contradicts; None if they agree.

    `events` are all of that task, oldest first; where the oldest are pruned, what is left decides.
    """
    said = journaled_status(events)
    if said is None or (task is not None and task.status is said):
        return None
    if task is None:
        if said.is_final:
            return None  # it was pruned
        return f"is not on the board, but {said.value.replace('_', ' ')} by the journal"
    stands = task.status.value.replace("_", " ")
    return f"is {stands}, but {said.value.replace('_', ' ')} by the journal"


def journaled_status(events: Iterable[Event]) -> TaskStatus | None:
    """The status that the journal's lines of a task lead to; None where they tell of none."""
    status: TaskStatus | None = None
    for event in events:
        match event.kind:
            case "released" | "retried":
                status = TaskStatus.PENDING
            case "claimed":
                status = TaskStatus.CLAIMED
            case "started":
                status = TaskStatus.IN_PROGRESS
            case "completed":
                status = TaskStatus.COMPLETED
            case "cancelled":
                status = TaskStatus.CANCELLED
            case "posted":
                status = _status_in(event) or TaskStatus.PENDING
            case "failed":
                status = _status_in(event) or TaskStatus.FAILED
            case "expired" | "edited":
                status = _status_in(event) or status
            case "removed":
                status = None
            case _:
                pass
    return status


def _status_in(event: Event) -> TaskStatus | None:
    try:
        return TaskStatus(str(event.data.get("status")))
    except ValueError:
        return None


def _is_open(task: Task) -> bool:
    return task.status is not TaskStatus.COMPLETED


def _check_waiting(task: Task, tasks: Mapping[str, Task]) -> Iterator[Finding]:
    should = needs_of(task, tasks)
    faults = [
        f"waits for {name!r}, "
        + (f"which {_stands(tasks.get(name))}" if name in task.depends_on else "without need")
        for name in task.waiting_on
        if name not in should
    ]
    faults += [
        f"does not wait for {name!r}, which {_stands(tasks.get(name))}"
        for name in should
        if name not in task.waiting_on
    ]
    if faults:
        yield Finding(
            kind="waits-wrongly", task_id=task.task_id, what="; ".join(faults), can_mend=True
        )
    for name in should:
        needed = tasks.get(name)
        if needed is None:
            yield Finding(
                kind="waits-for-missing",
                task_id=task.task_id,
                what=f"waits for {name!r}, which is not on the board",
                advice=f"post a task with the id {name!r}, or cancel this one",
            )
        elif needed.status in DEAD:
            yield Finding(
                kind="waits-for-dead",
                task_id=task.task_id,
                what=f"waits for {name!r}, which {_stands(needed)} and will not be completed",
                can_mend=True,
            )


def _stands(task: Task | None) -> str:
    return "is gone" if task is None else f"is {task.status.value.replace('_', ' ')}"


def _check_lease(task: Task, *, now: float) -> Iterator[Finding]:
    lease = task.lease
    if lease is None:
        return
    who = f"is held by {lease.agent_id!r}"
    if lease.deadline > now + _FAR_S or (task.claimed_at or 0.0) > now + _SKEW_S:
        days = (lease.deadline - now) / 86400
        yield Finding(
            kind="lease-in-future",
            task_id=task.task_id,
            what=f"{who} for another {days:,.1f} days: did a clock jump?",
            can_mend=True,
        )
    elif lease.deadline <= now:
        yield Finding(
            kind="lease-overdue",
            task_id=task.task_id,
            what=f"{who}, whose lease ran out {now - lease.deadline:,.0f} s ago",
            can_mend=True,
            is_note=True,
        )
