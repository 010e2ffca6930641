"""What a worker's token may not do on the board of a coding run: play a part of the run itself.

A run's work is done in sandboxes of its own and landed by its own queue, after a person's yes where
one is asked for. Whoever could post or complete tasks in these parts' names could land what nobody
has looked at. Everything else on such a board is open to workers, as on any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from fastapi import Request

from stigmergy.board import TaskType
from stigmergy.coding.tasks import WORK_TYPES, is_own_name
from stigmergy.server.auth import Scope
from stigmergy.server.context import context_of, principal_of
from stigmergy.server.documents.leases import Wanted
from stigmergy.server.documents.tasks import NewTask
from stigmergy.server.problems import Problem

__all__ = ["check_claim", "check_posts", "offered_types"]

_NOT_POSTED: Final = frozenset({TaskType.LAND, TaskType.APPROVAL, TaskType.FIX})
_OF_THE_RUN: Final = frozenset({*WORK_TYPES, TaskType.LAND, TaskType.PLAN, TaskType.APPROVAL})


def check_posts(request: Request, tasks: Iterable[NewTask]) -> None:
    """See that a worker posts nothing as if it were the run.

    Raises:
        Problem: it does.
    """
    if not _is_confined(request):
        return
    for task in tasks:
        if task.task_type in _NOT_POSTED:
            raise _refused(f"a task of type {task.task_type!r} is the run's own to post")
        if task.task_id is not None and is_own_name(task.task_id):
            raise _refused(f"{task.task_id!r} is a name that the run itself gives")


def check_claim(request: Request, order: Wanted) -> None:
    """See that a worker claims nothing that the run does itself, and not in its agents' names.

    Raises:
        Problem: it does.
    """
    if not _is_confined(request):
        return
    if own := _not_claimed(request).intersection(order.task_types or ()):
        raise _refused(f"tasks of type {min(own)!r} are for the run's own agents")
    run = context_of(request).run
    if run is not None and order.agent_id.startswith(f"{run.directory.run_id}/"):
        raise _refused(f"{order.agent_id[:100]!r} is a name of the run's own agents")


def offered_types(request: Request, order: Wanted) -> frozenset[str] | None:
    """The types that are claimed; on a run's board `any` is any but the run's own."""
    if order.task_types is not None:
        return frozenset(order.task_types)
    if not _is_confined(request):
        return None
    return frozenset(map(str, TaskType)) - _not_claimed(request)


def _not_claimed(request: Request) -> frozenset[str]:
    """The types that the run does itself; a strategy may have types of its own."""
    run = context_of(request).run
    return _OF_THE_RUN.union(() if run is None else run.spec.work_types)


def _is_confined(request: Request) -> bool:
    of_run = context_of(request).run is not None
    return of_run and principal_of(request).scope < Scope.ADMIN


def _refused(why: str) -> Problem:
    return Problem(status=403, kind="scope", detail=f"{why}; a worker's token may do the rest")
