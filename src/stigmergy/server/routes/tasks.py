"""Posting tasks and looking at them."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from stigmergy.board import Task, TaskBoard, TaskStatus
from stigmergy.board.task import new_task_id, task_to_json
from stigmergy.errors import NotFoundError, UsageError
from stigmergy.server.auth import Scope
from stigmergy.server.context import BEARER, PROBLEMS, context_of, needs
from stigmergy.server.documents.base import TaskId
from stigmergy.server.documents.board import EventPage
from stigmergy.server.documents.tasks import Listed, NewTask, Posted, PostMany, TaskPage
from stigmergy.server.problems import Problem
from stigmergy.server.routes.answers import encode, task_answer
from stigmergy.server.routes.journal import event_page
from stigmergy.server.routes.runboard import check_posts

__all__ = ["router"]

router: Final = APIRouter(prefix="/api/v1", tags=["tasks"], dependencies=[Depends(BEARER)])
_READ: Final = [Depends(needs(Scope.READ))]
_WORK: Final = [Depends(needs(Scope.WORKER))]
_PAGE_BYTES: Final = 8 * 1024**2
_MOST_EVENTS: Final = 5_000
_LOOK: Final = 50
"""Tasks that are read from the board at a time."""


@router.post("/tasks", dependencies=_WORK, status_code=201, responses=PROBLEMS)
async def post(new: NewTask, request: Request, on_duplicate: str = "keep") -> Posted:
    """Put a task on the board. Idempotent if it has a `task_id`, or with an `Idempotency-Key`."""
    return await _post(request, [new], on_duplicate)


@router.post("/tasks/batch", dependencies=_WORK, status_code=201, responses=PROBLEMS)
async def post_many(many: PostMany, request: Request) -> Posted:
    """Put tasks on the board, all or none. They may depend on each other in any order."""
    return await _post(request, many.tasks, many.on_duplicate)


@router.get("/tasks", dependencies=_READ, response_model=TaskPage, responses=PROBLEMS)
async def list_tasks(
    request: Request,
    *,
    status: Annotated[list[TaskStatus] | None, Query()] = None,
    task_type: Annotated[list[str] | None, Query()] = None,
    parent_id: TaskId | None = None,
    claimed_by: str | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Query(max_length=1000)] = None,
) -> Response:
    """Tasks that pass all filters, in posting order, a page at a time."""
    context = context_of(request)
    filters = [
        sorted(status or ()),
        sorted(task_type or ()),
        parent_id,
        claimed_by,
    ]
    after = None if cursor is None else _after(cursor, filters)
    if after is not None and await context.bridge.call(partial(context.board.get, after)) is None:
        text = "the task that the cursor stands at is gone: begin again without a cursor"
        raise Problem(status=410, kind="cursor-gone", detail=text)
    look = partial(
        context.board.list_all,
        statuses=status,
        task_types=task_type,
        parent_id=parent_id,
        claimed_by=claimed_by,
    )
    page = partial(_page, context.board, look, after=after, limit=limit)
    texts, last = await context.bridge.call(page)
    more = "null" if last is None else json.dumps(_cursor(last, filters))
    body = f'{{"tasks":[{",".join(texts)}],"next_cursor":{more}}}'
    return Response(body.encode(), media_type="application/json")


def _page(
    board: TaskBoard, look: Callable[..., list[Task]], *, after: str | None, limit: int
) -> tuple[list[str], str | None]:
    """Tasks as JSON, and after which the next page begins; None if this is the last.

    A page ends before its limit when it has become large: one request for a thousand tasks with
    large payloads must not take the memory that all others need.
    """
    texts: list[str] = []
    size = 0
    while True:
        wanted = min(_LOOK, limit - len(texts))
        found = look(after=after, limit=wanted + 1)
        for task in found[:wanted]:
            if size > _PAGE_BYTES:
                return texts, after
            texts.append(encode(task_to_json(task)))
            size += len(texts[-1])
            after = task.task_id
        if not found and texts and after is not None and board.get(after) is None:
            return texts, after  # pruned meanwhile: whoever goes on from it is told so
        if len(found) <= wanted:
            return texts, None
        if len(texts) == limit:
            return texts, after


@router.get("/tasks/{task_id}", dependencies=_READ, response_model=Listed, responses=PROBLEMS)
async def show(task_id: TaskId, request: Request) -> Response:
    """A task as it stands."""
    context = context_of(request)
    task = await context.bridge.call(partial(context.board.get, task_id))
    if task is None:
        raise NotFoundError(f"no task {task_id!r} on this board")
    return task_answer(task)


@router.get(
    "/tasks/{task_id}/history", dependencies=_READ, response_model=EventPage, responses=PROBLEMS
)
async def history(
    task_id: TaskId, request: Request, after: Annotated[int, Query(ge=0, le=2**63 - 1)] = 0
) -> Response:
    """What happened to one task, oldest first; it tells of `more` after a page that is large."""
    context = context_of(request)
    if await context.bridge.call(partial(context.board.get, task_id)) is None:
        found = await context.bridge.call(partial(context.board.events, limit=1, task_id=task_id))
        if not found:
            raise NotFoundError(f"no task {task_id!r} on this board")
    read = partial(event_page, context.board, after=after, limit=_MOST_EVENTS, task_id=task_id)
    return await context.bridge.call(read)


async def _post(request: Request, new: Sequence[NewTask], on_duplicate: str) -> Posted:
    context = context_of(request)
    if on_duplicate not in ("keep", "refuse", "replace"):
        raise UsageError(f"on_duplicate is {on_duplicate!r}: take keep, refuse or replace")
    check_posts(request, new)
    tasks = [each.task(fresh_id(request, number)) for number, each in enumerate(new)]
    post = partial(context.board.post_many, tasks, on_duplicate=on_duplicate)
    return Posted(task_ids=await context.bridge.call(post))


def fresh_id(request: Request, number: int) -> str:
    """An id for a task without one: the same when the same request is sent again."""
    key = request.scope["state"].get("key")
    if key is None:
        return new_task_id()
    return hashlib.sha256(f"{key}\0{number}".encode()).hexdigest()[:16]


def _cursor(task_id: str, filters: Sequence[object]) -> str:
    text = json.dumps([task_id, _mark(filters)])
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _after(cursor: str, filters: Sequence[object]) -> str:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        task_id, mark = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, RecursionError):
        raise UsageError("the cursor is none that this server told") from None
    if not isinstance(task_id, str) or mark != _mark(filters):
        raise UsageError("the cursor belongs to other filters: begin again without a cursor")
    return task_id


def _mark(filters: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(filters).encode()).hexdigest()[:16]
