"""The journal: pages of events, and a stream that goes on where the reader left off."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from stigmergy.errors import TransientError, UsageError
from stigmergy.server.auth import Scope
from stigmergy.server.context import BEARER, PROBLEMS, ServerContext, context_of, needs
from stigmergy.server.documents import EventPage, TaskId
from stigmergy.server.routes.answers import answer
from stigmergy.server.streams import EventStream, journal_chunks
from stigmergy.server.tail import event_document

__all__ = ["router"]

router: Final = APIRouter(
    prefix="/api/v1",
    tags=["journal"],
    dependencies=[Depends(BEARER), Depends(needs(Scope.READ))],
)
_MOST_STREAMS: Final = 1_000
_HIGHEST_SEQ: Final = 2**63 - 1
_MOST_DIGITS: Final = 19
_STREAM: Final = {
    "description": "Events as they happen; the id of each is its `seq`.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}

Seq = Annotated[int, Query(ge=0, le=_HIGHEST_SEQ)]


@router.get("/events", response_model=EventPage, responses=PROBLEMS)
async def events(
    request: Request,
    *,
    after: Seq = 0,
    limit: Annotated[int, Query(ge=1, le=5_000)] = 1_000,
    task_id: TaskId | None = None,
) -> Response:
    """Events from just after `after`, oldest first."""
    context = context_of(request)
    if task_id is None:
        found = await context.bridge.call(partial(context.board.events, after=after, limit=limit))
    else:
        whole = await context.bridge.call(partial(context.board.history, task_id))
        found = [event for event in whole if event.seq > after][:limit]
    last = await context.bridge.call(context.board.last_seq)
    return answer({"events": [event_document(event) for event in found], "last_seq": last})


@router.get("/journal", responses={**PROBLEMS, 200: _STREAM}, response_class=Response)
async def journal(
    request: Request, *, after: Seq | None = None, task_id: TaskId | None = None
) -> Response:
    """The journal as server-sent events.

    From the beginning, or from after the event that `Last-Event-ID` or `after` names.
    """
    context = context_of(request)
    if context.tail.streams >= _MOST_STREAMS:
        text = f"{context.tail.streams} streams are open already"
        raise TransientError(text, retry_after_s=10.0)
    start = await _start(context, request, after)
    return EventStream(journal_chunks(context, start, task_id), context.closing)


async def _start(context: ServerContext, request: Request, after: int | None) -> int:
    text = request.headers.get("last-event-id", "")
    if text and (not text.isascii() or not text.isdigit() or len(text) > _MOST_DIGITS):
        raise UsageError("Last-Event-ID is not the id of an event")
    start = int(text) if text else after or 0
    if start > context.tail.seq and start > await context.bridge.call(context.board.last_seq):
        raise UsageError(f"event {start} is beyond the end of this journal: it was another board's")
    return start
