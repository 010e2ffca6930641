"""What agents do: claim tasks, and report on those that they hold."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from stigmergy.board import Lease, Task
from stigmergy.board.task import task_to_json
from stigmergy.errors import LostLeaseError
from stigmergy.server.auth import Scope
from stigmergy.server.context import (
    BEARER,
    PROBLEMS,
    ServerContext,
    context_of,
    needs,
    principal_of,
    unless_gone,
)
from stigmergy.server.desk import Order
from stigmergy.server.documents.base import TaskId
from stigmergy.server.documents.leases import (
    Claimed,
    ClaimOrder,
    Completion,
    ExchangeOrder,
    Failure,
    HeldTask,
    LeaseDocument,
    Release,
    Renewal,
    Report,
    StartOrder,
    Wanted,
)
from stigmergy.server.documents.tasks import Listed
from stigmergy.server.problems import Problem
from stigmergy.server.routes.answers import answer, task_answer
from stigmergy.server.routes.runboard import check_claim, check_posts, offered_types
from stigmergy.server.routes.tasks import fresh_id

__all__ = ["router"]

router: Final = APIRouter(
    prefix="/api/v1/tasks",
    tags=["leases"],
    dependencies=[Depends(BEARER), Depends(needs(Scope.WORKER))],
)
_PERSON: Final = "person"
"""The capability of those who approve: no worker's token has it."""


@router.post("/claim", response_model=Claimed, responses=PROBLEMS)
async def claim(order: ClaimOrder, request: Request) -> Response:
    """Take up to `limit` tasks, waiting up to `wait_s` until there is one.

    The task is this agent's until its lease ends: report on it or renew it before.
    """
    context = context_of(request)
    wanted = _order(request, order)
    tasks = await unless_gone(request, context.desk.claim(wanted, wait_s=order.wait_s))
    return answer({"claimed": [_held(context, task) for task in tasks]})


@router.post("/complete-and-claim", response_model=Claimed, responses=PROBLEMS)
async def complete_and_claim(order: ExchangeOrder, request: Request) -> Response:
    """Hand in results and take up to `limit` next tasks, all in one: it happens whole or not.

    It does not wait for a task, so that no result does; `claim` waits.
    """
    context = context_of(request)
    wanted = _order(request, order)
    results = [(_checked(request, each.lease)[1], each.result) for each in order.results]
    exchange = partial(
        context.board.complete_and_claim,
        wanted.agent_id,
        results,
        wanted.limit,
        capabilities=wanted.capabilities,
        task_types=wanted.task_types,
        lease_s=wanted.lease_s,
    )
    tasks = await context.bridge.call(exchange)
    return answer({"claimed": [_held(context, task) for task in tasks]})


@router.post("/{task_id}/start", response_model=Listed, responses=PROBLEMS)
async def start(task_id: TaskId, order: StartOrder, request: Request) -> Response:
    """Say that work has begun. Idempotent."""
    context, lease = _checked(request, order.lease, task_id)
    return task_answer(await context.bridge.call(partial(context.board.start, lease)))


@router.post("/{task_id}/renew", response_model=HeldTask, responses=PROBLEMS)
async def renew(task_id: TaskId, order: Renewal, request: Request) -> Response:
    """Hold on to the task for `lease_s` from now."""
    context, lease = _checked(request, order.lease, task_id)
    renew = partial(context.board.renew, lease, lease_s=order.lease_s)
    renewed = await context.bridge.call(renew)
    task = await context.bridge.call(partial(context.board.get, task_id))
    document = None if task is None else task_to_json(task)
    return answer({"task": document, "lease": context.document_of(renewed)})


@router.post("/{task_id}/report", response_model=Listed, responses=PROBLEMS)
async def report(task_id: TaskId, order: Report, request: Request) -> Response:
    """Say how far the work is, for whoever watches. Renews the lease."""
    context, lease = _checked(request, order.lease, task_id)
    tell = partial(context.board.report, lease, order.progress, lease_s=order.lease_s)
    return task_answer(await context.bridge.call(tell))


@router.post("/{task_id}/complete", response_model=Listed, responses=PROBLEMS)
async def complete(task_id: TaskId, order: Completion, request: Request) -> Response:
    """Hand in the result. Idempotent for the same lease and result."""
    context, lease = _checked(request, order.lease, task_id)
    tell = partial(context.board.complete, lease, order.result, note=order.note)
    return task_answer(await context.bridge.call(tell))


@router.post("/{task_id}/fail", response_model=Listed, responses=PROBLEMS)
async def fail(task_id: TaskId, order: Failure, request: Request) -> Response:
    """Report that the attempt failed. With `retry` it is tried again while attempts last."""
    context, lease = _checked(request, order.lease, task_id)
    tell = partial(context.board.fail, lease, order.error, retry=order.retry, note=order.note)
    return task_answer(await _once(request, lease, "failed", tell))


@router.post("/{task_id}/release", response_model=Listed, responses=PROBLEMS)
async def release(task_id: TaskId, order: Release, request: Request) -> Response:
    """Give the task back unharmed: the attempt does not count."""
    context, lease = _checked(request, order.lease, task_id)
    check_posts(request, order.post)
    posts = [each.task(fresh_id(request, number)) for number, each in enumerate(order.post)]
    tell = partial(
        context.board.release,
        lease,
        wait_for=order.wait_for,
        post=posts,
        delay_s=order.delay_s,
        reason=order.reason,
        note=order.note,
    )
    return task_answer(await _once(request, lease, "released", tell))


def _order(request: Request, wanted: Wanted) -> Order:
    """What the desk is asked for; refused where it is not for such a client."""
    if _PERSON in wanted.capabilities and principal_of(request).scope < Scope.ADMIN:
        text = f"what waits for a {_PERSON} is not for workers: use approve and refuse"
        raise Problem(status=403, kind="scope", detail=text)
    check_claim(request, wanted)
    return Order(
        agent_id=wanted.agent_id,
        limit=wanted.limit,
        capabilities=frozenset(wanted.capabilities),
        task_types=offered_types(request, wanted),
        lease_s=wanted.lease_s,
    )


def _checked(
    request: Request, told: LeaseDocument, task_id: str | None = None
) -> tuple[ServerContext, Lease]:
    """The lease that a client sent; refused if it is none of this server, or of another task."""
    context = context_of(request)
    if task_id not in (None, told.task_id):
        text = f"the lease is for the task {told.task_id!r}, the address for {task_id!r}"
        raise Problem(status=422, kind="invalid", detail=text)
    lease = told.lease()
    context.proofs.check(lease, told.proof, by=principal_of(request))
    return context, lease


async def _once(request: Request, lease: Lease, kind: str, tell: Callable[[], Task]) -> Task:
    """Tell the board; if a server that ended may have told it already, see whether it has."""
    context = context_of(request)
    try:
        return await context.bridge.call(tell)
    except LostLeaseError:
        if not request.scope["state"].get("again"):
            raise
        told = await context.bridge.call(partial(_was_told, context, lease, kind))
        if told is None:
            raise
        return told


def _was_told(context: ServerContext, lease: Lease, kind: str) -> Task | None:
    """The task, if the lease's attempt ended by what is told now."""
    own = False
    for event in context.board.history(lease.task_id):
        if event.kind == "claimed":
            own = event.data.get("fence") == lease.fence
        elif own and event.kind == kind and event.agent_id == lease.agent_id:
            return context.board.get(lease.task_id)
    return None


def _held(context: ServerContext, task: Task) -> dict[str, object]:
    lease = task.lease
    assert lease is not None, "it was claimed just now"
    return {"task": task_to_json(task), "lease": context.document_of(lease)}
