"""The board as a whole: how far it has come, its figures, and what it was told."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from stigmergy.server.auth import Scope
from stigmergy.server.context import BEARER, PROBLEMS, context_of, needs
from stigmergy.server.documents.base import TaskId
from stigmergy.server.documents.board import FiguresDocument, ProgressDocument, RulesDocument
from stigmergy.server.routes.answers import answer

__all__ = ["router"]

router: Final = APIRouter(
    prefix="/api/v1", tags=["board"], dependencies=[Depends(BEARER), Depends(needs(Scope.READ))]
)


@router.get("/progress", responses=PROBLEMS)
async def progress(request: Request, parent_id: TaskId | None = None) -> ProgressDocument:
    """How far the whole board has come, or the children of one parent."""
    context = context_of(request)
    found = await context.bridge.call(partial(context.board.progress, parent_id))
    return ProgressDocument(
        total=found.total,
        pending=found.pending,
        in_progress=found.in_progress,
        completed=found.completed,
        failed=found.failed,
        cancelled=found.cancelled,
    )


@router.get("/figures", responses=PROBLEMS)
async def figures(request: Request) -> FiguresDocument:
    """Tasks by type and status, what waits, and what the last minute and hour brought."""
    context = context_of(request)
    found = await context.bridge.call(partial(context.board.figures, now=time.time()))
    return FiguresDocument(
        by_type={
            kind: {str(status): number for status, number in counts.items()}
            for kind, counts in found.by_type.items()
        },
        oldest_ready_s=found.oldest_ready_s,
        held=found.held,
        overdue=found.overdue,
        throughput={
            name: None if counts is None else dict(counts)
            for name, counts in found.throughput.items()
        },
    )


@router.get("/rules", response_model=RulesDocument, responses=PROBLEMS)
async def rules(request: Request) -> Response:
    """What the board was told: pauses, limits, schedules, retention, fair sharing."""
    context = context_of(request)
    told = await context.bridge.call(context.board.rules)
    return answer(
        {
            "rules": [
                {"name": rule.name, "body": rule.body, "due_at": rule.due_at}
                for rule in told.stored()
            ]
        }
    )
