"""What the merge queue takes up: work of the item that it lands, with a person's yes if one is due.

The board is open to more than the run's own agents: a worker over HTTP or a hand at a terminal can
post and complete tasks of any type and name. So neither that a task is there nor that it is
completed says anything here, but only what it is. Pure.
"""

from __future__ import annotations

from collections.abc import Collection

from pydantic import ValidationError

from stigmergy.board import Task, TaskStatus
from stigmergy.board.approvals import is_approval
from stigmergy.coding.git.objects import check_oid
from stigmergy.coding.tasks import has_work, item_key, land_id, work_to_land
from stigmergy.coding.work.handoff import Handoff
from stigmergy.errors import UsageError

__all__ = ["said_yes", "why_no_landing", "why_no_work"]


def why_no_landing(land: Task) -> str | None:
    """Why a task of the type `land` is none of an item; None if it is."""
    if land.task_id != land_id(item_key(land)):
        return f"{land.task_id!r} is not the landing of an item"
    if not has_work(land):
        return "it depends on no work that could land"
    return None


def why_no_work(land: Task, work: Task | None, *, types: Collection[str]) -> str | None:
    """Why a task is no work that an agent of the run did for this landing; None if it is.

    `types`: of the work that the run's agents do.
    """
    name = work_to_land(land)
    if work is None:
        return f"{name!r} is not on the board"
    if work.task_type not in types or item_key(work) != item_key(land):
        return f"{name!r} is no work of the item {item_key(land)!r}"
    if work.status is not TaskStatus.COMPLETED:
        return f"{name!r} is {work.status.value}"
    result = work.result or {}
    try:
        Handoff.model_validate(result.get("handoff"))
        check_oid(str(result.get("base")))
        if result.get("commit") is not None:
            check_oid(str(result["commit"]))
    except (ValidationError, UsageError):
        return f"the result of {name!r} is not what an agent of this run hands in"
    return None


def said_yes(asked: Task | None, work: Task) -> bool:
    """Whether a person said yes to this very work."""
    return (
        asked is not None
        and is_approval(asked)
        and asked.status is TaskStatus.COMPLETED
        and (asked.result or {}).get("approved") is True
        and asked.payload.get("work") == work.task_id
        and asked.payload.get("commit") == (work.result or {}).get("commit")
    )
