"""What a person or a supervisor does: cancel, retry, priorities, approvals, pauses, agents."""

from __future__ import annotations

from functools import partial
from typing import Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from stigmergy.board import Query
from stigmergy.server.auth import Scope
from stigmergy.server.context import BEARER, PROBLEMS, context_of, needs, principal_of
from stigmergy.server.documents.base import TaskId
from stigmergy.server.documents.steering import (
    AgentsWish,
    CancelMany,
    Choice,
    Chosen,
    PauseOrder,
    Priority,
    Reason,
    RetryMany,
    Ruling,
)
from stigmergy.server.documents.tasks import Listed
from stigmergy.server.routes.answers import task_answer

__all__ = ["router"]

router: Final = APIRouter(
    prefix="/api/v1",
    tags=["steering"],
    dependencies=[Depends(BEARER), Depends(needs(Scope.ADMIN))],
)


@router.post("/tasks/cancel", responses=PROBLEMS)
async def cancel_many(choice: CancelMany, request: Request) -> Chosen:
    """Stop all unfinished tasks that pass, one after the other."""
    context = context_of(request)
    act = partial(context.board.cancel_all, _query(choice), reason=choice.reason)
    return Chosen(task_ids=[task.task_id for task in await context.bridge.call(act)])


@router.post("/tasks/retry", responses=PROBLEMS)
async def retry_many(choice: RetryMany, request: Request) -> Chosen:
    """Begin all failed and cancelled tasks that pass anew, with those that failed because of them.

    Those stay that depend on a task which failed or was cancelled and is not retried.
    """
    context = context_of(request)
    act = partial(context.board.retry_all, _query(choice), error=choice.error)
    return Chosen(task_ids=[task.task_id for task in await context.bridge.call(act)])


@router.post("/tasks/{task_id}/cancel", response_model=Listed, responses=PROBLEMS)
async def cancel(task_id: TaskId, request: Request, why: Reason | None = None) -> Response:
    """Stop a task that is not finished. Its holder is refused when it reports or renews."""
    context = context_of(request)
    reason = (why or Reason()).reason
    task = await context.bridge.call(partial(context.board.cancel, task_id, reason=reason))
    return task_answer(task)


@router.post("/tasks/{task_id}/retry", response_model=Listed, responses=PROBLEMS)
async def retry(task_id: TaskId, request: Request) -> Response:
    """Begin a failed or cancelled task anew, with the tasks that failed because of it."""
    context = context_of(request)
    return task_answer(await context.bridge.call(partial(context.board.retry, task_id)))


@router.post("/tasks/{task_id}/priority", response_model=Listed, responses=PROBLEMS)
async def set_priority(task_id: TaskId, order: Priority, request: Request) -> Response:
    """Let an unfinished task be taken earlier or later. Idempotent."""
    context = context_of(request)
    change = partial(context.board.set_priority, task_id, order.priority)
    return task_answer(await context.bridge.call(change))


@router.post("/tasks/{task_id}/approve", response_model=Listed, responses=PROBLEMS)
async def approve(task_id: TaskId, ruling: Ruling, request: Request) -> Response:
    """Complete a task that waits for a person. Idempotent."""
    context = context_of(request)
    decide = partial(context.board.approve, task_id, by=ruling.by, reason=ruling.reason)
    return task_answer(await context.bridge.call(decide))


@router.post("/tasks/{task_id}/refuse", response_model=Listed, responses=PROBLEMS)
async def refuse(task_id: TaskId, ruling: Ruling, request: Request) -> Response:
    """Fail a task that waits for a person, with what depends on it. Idempotent."""
    context = context_of(request)
    decide = partial(context.board.refuse, task_id, by=ruling.by, reason=ruling.reason)
    return task_answer(await context.bridge.call(decide))


@router.post("/pause", status_code=204, responses=PROBLEMS)
async def pause(order: PauseOrder, request: Request) -> None:
    """Let no task of the type be claimed until `resume`. What is held goes on. Idempotent."""
    context = context_of(request)
    await context.bridge.call(partial(context.board.pause, order.task_type))


@router.post("/resume", status_code=204, responses=PROBLEMS)
async def resume(order: PauseOrder, request: Request) -> None:
    """Let the type be claimed again. Idempotent."""
    context = context_of(request)
    await context.bridge.call(partial(context.board.resume, order.task_type))


@router.post("/agents", status_code=204, responses=PROBLEMS)
async def agents(wish: AgentsWish, request: Request) -> None:
    """Say how many agents are wanted; a coding run follows the latest wish."""
    context = context_of(request)
    data = {"count": wish.count, "by": f"token {principal_of(request).name}"}
    await context.bridge.call(partial(context.board.record, "agents_wanted", data=data))


def _query(choice: Choice) -> Query:
    return Query(
        statuses=None if choice.statuses is None else frozenset(choice.statuses),
        task_types=None if choice.task_types is None else frozenset(choice.task_types),
        parent_id=choice.parent_id,
    )
