"""The journal: pages of events, and a stream that goes on where the reader left off."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from stigmergy.board import TaskBoard
from stigmergy.errors import TransientError, UsageError
from stigmergy.server.auth import Scope
from stigmergy.server.context import BEARER, PROBLEMS, ServerContext, context_of, needs
from stigmergy.server.documents.base import TaskId
from stigmergy.server.documents.board import EventPage
from stigmergy.server.routes.answers import encode
from stigmergy.server.streams import EventStream, journal_chunks
from stigmergy.server.tail import event_document

__all__ = ["event_page", "router"]

router: Final = APIRouter(
    prefix="/api/v1",
    tags=["journal"],
    dependencies=[Depends(BEARER), Depends(needs(Scope.READ))],
)
_PAGE_BYTES: Final = 8 * 1024**2
_LOOK: Final = 50
_MOST_LOOK: Final = 1_000
"""Events that are read from the board at a time: few, until it is known that they are small."""
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
    """Events from just after `after`, oldest first. A page of large events ends before `limit`."""
    context = context_of(request)
    read = partial(event_page, context.board, after=after, limit=limit, task_id=task_id)
    return await context.bridge.call(read)


def event_page(board: TaskBoard, *, after: int, limit: int, task_id: str | None) -> Response:
    """A page of events, which ends before its limit when it has become large.

    Events are read a few at a time, and no more than is going to be told if they are large.
    """
    texts: list[str] = []
    size, step, more = 0, _LOOK, True
    while more and len(texts) < limit and size < _PAGE_BYTES:
        wanted = min(step, limit - len(texts))
        found = board.events(after=after, limit=wanted + 1, task_id=task_id)
        more = len(found) > wanted
        for event in found[:wanted]:
            if size >= _PAGE_BYTES:
                more = True
                break
            texts.append(encode(event_document(event)))
            size += len(texts[-1])
            after = event.seq
        if texts:
            step = max(_LOOK, min(_MOST_LOOK, _PAGE_BYTES * len(texts) // (4 * size)))
    body = (
        f'{{"events":[{",".join(texts)}],"more":{"true" if more else "false"},'
        f'"last_seq":{board.last_seq()}}}'
    )
    return Response(body.encode(), media_type="application/json")


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
