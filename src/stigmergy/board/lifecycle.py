"""What may happen to a task: the one transition table, and a function for each verb.

Pure: a task, a verb's arguments and the time go in, the changed task comes out. No store and no
agent decides a status by itself. Verbs of a lease holder take the lease and refuse a stale one
with `LostLeaseError`; the attempt and the fence decide, never the clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

from stigmergy.board.task import JsonObject, Lease, Task, TaskStatus
from stigmergy.errors import LostLeaseError, UsageError

__all__ = [
    "TRANSITIONS",
    "Backoff",
    "Verb",
    "cancel",
    "claim",
    "complete",
    "expire",
    "fail",
    "fail_for_dependency",
    "fair_lag_s",
    "find_cycle",
    "first_ready",
    "hold",
    "is_ready",
    "prioritize",
    "rank",
    "release",
    "renew",
    "reopen",
    "report",
    "satisfy",
    "start",
]

Verb = Literal[
    "claim", "start", "renew", "complete", "fail", "release", "expire", "cancel", "retry"
]

_S = TaskStatus
TRANSITIONS: Final[Mapping[tuple[TaskStatus, Verb], frozenset[TaskStatus]]] = {
    (_S.PENDING, "claim"): frozenset({_S.CLAIMED}),
    (_S.PENDING, "fail"): frozenset({_S.FAILED}),  # a dependency failed
    (_S.PENDING, "cancel"): frozenset({_S.CANCELLED}),
    (_S.CLAIMED, "start"): frozenset({_S.IN_PROGRESS}),
    (_S.CLAIMED, "renew"): frozenset({_S.CLAIMED}),
    (_S.CLAIMED, "complete"): frozenset({_S.COMPLETED}),
    (_S.CLAIMED, "fail"): frozenset({_S.FAILED, _S.PENDING}),
    (_S.CLAIMED, "release"): frozenset({_S.PENDING}),
    (_S.CLAIMED, "expire"): frozenset({_S.PENDING, _S.FAILED}),
    (_S.CLAIMED, "cancel"): frozenset({_S.CANCELLED}),
    (_S.IN_PROGRESS, "start"): frozenset({_S.IN_PROGRESS}),
    (_S.IN_PROGRESS, "renew"): frozenset({_S.IN_PROGRESS}),
    (_S.IN_PROGRESS, "complete"): frozenset({_S.COMPLETED}),
    (_S.IN_PROGRESS, "fail"): frozenset({_S.FAILED, _S.PENDING}),
    (_S.IN_PROGRESS, "release"): frozenset({_S.PENDING}),
    (_S.IN_PROGRESS, "expire"): frozenset({_S.PENDING, _S.FAILED}),
    (_S.IN_PROGRESS, "cancel"): frozenset({_S.CANCELLED}),
    (_S.FAILED, "retry"): frozenset({_S.PENDING}),
    (_S.CANCELLED, "retry"): frozenset({_S.PENDING}),
}
"""Which statuses a verb may lead to. What is not here is refused."""

AGING_S: Final = 600.0
"""A level of priority is worth this much waiting, so no task starves: one of priority 10 goes
before a fresh one of priority 1 after an hour and a half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long a failed attempt waits for the next: `first_s * factor ** (attempts - 1)`."""

    first_s: float = 1.0
    factor: float = 2.0
    most_s: float = 300.0

    def delay_s(self, attempts: int) -> float:
        """Seconds to wait after `attempts` attempts."""
        # The exponent is capped because a float overflows long before most_s is in doubt.
        return min(self.most_s, self.first_s * self.factor ** min(max(attempts - 1, 0), 64))


def rank(task: Task) -> float:
    """The claim order: smaller goes first. Only a put changes it, so stores can index it."""
    return task.created_at + (task.priority - 1) * AGING_S + task.lag_s


def fair_lag_s(task: Task, *, tail: float | None) -> float:
    """How far behind its siblings a task goes, so that parents take turns.

    `tail` is the highest rank among the pending siblings of its priority. Each task in line before
    it counts like a level of priority, so a parent with a thousand tasks does not keep one with
    ten waiting until it is done.
    """
    if tail is None:
        return 0.0
    return max(0.0, tail + AGING_S - rank(replace(task, lag_s=0.0)))


def is_ready(task: Task, now: float) -> bool:
    """It can be claimed now."""
    return task.status is _S.PENDING and not task.waiting_on and task.not_before <= now


def claim(task: Task, *, agent_id: str, now: float, lease_s: float) -> Task:
    """The task held by `agent_id`; its fence has grown."""
    return replace(
        task,
        status=_next(task, "claim", _S.CLAIMED),
        claimed_by=agent_id,
        claimed_at=now,
        lease_until=now + lease_s,
        attempts=task.attempts + 1,
        fence=task.fence + 1,
        progress=None,
    )


def start(task: Task, lease: Lease) -> Task:
    """The agent has begun. Idempotent."""
    _check_lease(task, lease)
    return replace(task, status=_next(task, "start", _S.IN_PROGRESS))


def renew(task: Task, lease: Lease, *, now: float, lease_s: float) -> Task:
    """The lease runs for `lease_s` from now."""
    _check_lease(task, lease)
    return replace(task, status=_next(task, "renew", task.status), lease_until=now + lease_s)


def report(task: Task, lease: Lease, *, progress: JsonObject, now: float, lease_s: float) -> Task:
    """How far the work is; whoever reports is alive, so the lease runs anew."""
    return replace(start(renew(task, lease, now=now, lease_s=lease_s), lease), progress=progress)


def complete(task: Task, lease: Lease, *, result: JsonObject, now: float) -> Task:
    """Done. Saying it again with the same lease and result changes nothing."""
    if (
        task.status is _S.COMPLETED
        and (task.claimed_by, task.fence) == (lease.agent_id, lease.fence)
        and task.result == result
    ):
        return task
    _check_lease(task, lease)
    return replace(
        task,
        status=_next(task, "complete", _S.COMPLETED),
        result=result,
        error=None,
        finished_at=now,
        lease_until=None,
    )


def fail(
    task: Task, lease: Lease, *, error: str, retry: bool, now: float, backoff: Backoff
) -> Task:
    """The attempt failed. With `retry` and attempts left it waits for the next one."""
    _check_lease(task, lease)
    return _end_attempt(task, "fail", error=error, retry=retry, now=now, backoff=backoff)


def expire(task: Task, *, now: float, backoff: Backoff) -> Task:
    """The lease ran out: back to the others, or failed when it was the last attempt."""
    if task.lease_until is None or task.lease_until > now:
        raise UsageError(f"task {task.task_id!r}: its lease has not run out")
    error = f"the lease of agent {task.claimed_by!r} ran out in attempt {task.attempts}"
    # No backoff: the agent died, the task did nothing wrong, and its lease was wait enough.
    return _end_attempt(
        task, "expire", error=error, retry=True, now=now, backoff=replace(backoff, first_s=0.0)
    )


def release(
    task: Task, lease: Lease, *, wait_for: Mapping[str, bool] | None = None, not_before: float = 0.0
) -> Task:
    """Given back unharmed; the attempt does not count. It waits for `wait_for` from now on."""
    _check_lease(task, lease)
    return _vacate(
        hold(task, wait_for or {}),
        status=_next(task, "release", _S.PENDING),
        attempts=max(task.attempts - 1, 0),
        not_before=max(task.not_before, not_before),
    )


def cancel(task: Task, *, reason: str, now: float) -> Task:
    """Stopped on purpose. Its holder learns it from the next report or renewal."""
    return replace(
        task,
        status=_next(task, "cancel", _S.CANCELLED),
        error=reason,
        finished_at=now,
        lease_until=None,
    )


def prioritize(task: Task, *, priority: int, lag_s: float) -> Task:
    """The unfinished task with another priority, and its place among its siblings."""
    if task.status.is_final:
        raise UsageError(
            f"task {task.task_id!r} is {task.status.value}: its priority means nothing any more"
        )
    return replace(task, priority=priority, lag_s=lag_s)


def reopen(task: Task, *, waiting_on: tuple[str, ...]) -> Task:
    """A failed or cancelled task begins anew, its attempts at zero."""
    return _vacate(
        replace(task, error=None, result=None, waiting_on=waiting_on),
        status=_next(task, "retry", _S.PENDING),
        attempts=0,
        not_before=0.0,
    )


def fail_for_dependency(task: Task, *, dependency: str, reason: str, now: float) -> Task:
    """A task that waits for one that will never be completed fails, and says for which."""
    error = f"it depends on {dependency!r}, which {reason}"
    return replace(
        task,
        status=_next(task, "fail", _S.FAILED),
        error=error,
        result={"error": error, "dependency": dependency},
        finished_at=now,
    )


def hold(task: Task, wait_for: Mapping[str, bool]) -> Task:
    """The task with further dependencies; those that map to True are completed already."""
    new = tuple(name for name in wait_for if name not in task.depends_on)
    unmet = tuple(
        name for name, done in wait_for.items() if not done and name not in task.waiting_on
    )
    return replace(task, depends_on=(*task.depends_on, *new), waiting_on=(*task.waiting_on, *unmet))


def satisfy(task: Task, dependency: str) -> Task:
    """The task without that dependency in its way."""
    return replace(task, waiting_on=tuple(name for name in task.waiting_on if name != dependency))


def find_cycle(
    roots: Iterable[str], needs: Callable[[str], Iterable[str]]
) -> tuple[str, ...] | None:
    """A cycle reachable from `roots`, first id repeated at the end; None where there is none.

    Iterative, so the depth of a graph is bounded by memory alone.
    """
    done: set[str] = set()
    for root in roots:
        path: list[str] = []
        on_path: set[str] = set()
        stack: list[tuple[str, bool]] = [(root, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                on_path.discard(path.pop())
                done.add(name)
            elif name in on_path:
                return (*path[path.index(name) :], name)
            elif name not in done:
                path.append(name)
                on_path.add(name)
                stack.append((name, True))
                stack.extend((needed, False) for needed in needs(name))
    return None


def first_ready(tasks: Iterable[Task], *, limit: int, now: float) -> list[Task]:
    """The first `limit` claimable tasks in claim order; ties stay in the given order."""
    ready = (task for task in tasks if is_ready(task, now))
    return heapq.nsmallest(limit, ready, key=rank)


def _end_attempt(
    task: Task, verb: Verb, *, error: str, retry: bool, now: float, backoff: Backoff
) -> Task:
    if retry and task.attempts < task.max_attempts:
        return replace(
            _vacate(
                task,
                status=_next(task, verb, _S.PENDING),
                attempts=task.attempts,
                not_before=now + backoff.delay_s(task.attempts),
            ),
            error=error,
        )
    return replace(
        task,
        status=_next(task, verb, _S.FAILED),
        error=error,
        result={"error": error},
        finished_at=now,
        lease_until=None,
    )


def _vacate(task: Task, *, status: TaskStatus, attempts: int, not_before: float) -> Task:
    return replace(
        task,
        status=status,
        attempts=attempts,
        not_before=not_before,
        claimed_by=None,
        claimed_at=None,
        lease_until=None,
        finished_at=None,
    )


def _next(task: Task, verb: Verb, to: TaskStatus) -> TaskStatus:
    if to not in TRANSITIONS.get((task.status, verb), frozenset()):
        raise UsageError(f"task {task.task_id!r} is {task.status.value}: it cannot {verb}")
    return to


def _check_lease(task: Task, lease: Lease) -> None:
    if task.status.is_leased and (task.claimed_by, task.fence) == (lease.agent_id, lease.fence):
        return
    if task.fence != lease.fence or task.claimed_by not in (None, lease.agent_id):
        reason = f"agent {task.claimed_by!r} claimed it since (fence {task.fence})"
    elif task.status is _S.CANCELLED:
        reason = f"it was cancelled: {task.error}"
    else:
        reason = f"it is {task.status.value}"
    raise LostLeaseError(task.task_id, agent_id=lease.agent_id, fence=lease.fence, reason=reason)
