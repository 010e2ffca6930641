"""The feed over HTTP: the stream, the snapshot, a commit, a conversation, the preview."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from stigmergy.errors import NotFoundError, TransientError
from stigmergy.server.auth import Scope
from stigmergy.server.context import BEARER, PROBLEMS, context_of, needs, principal_of
from stigmergy.server.live.commits import commit_document
from stigmergy.server.live.conversation import conversation
from stigmergy.server.live.feed import Feed
from stigmergy.server.live.playhead import MAX_SPEED, MIN_SPEED
from stigmergy.server.live.preview import preview_headers
from stigmergy.server.live.site import LiveSite
from stigmergy.server.routes.answers import answer
from stigmergy.server.streams import EventStream

__all__ = ["preview_router", "router"]

router: Final = APIRouter(
    prefix="/api/v1", tags=["live"], dependencies=[Depends(BEARER), Depends(needs(Scope.READ))]
)
preview_router: Final = APIRouter(include_in_schema=False)
"""Needs no token: the ticket in the path is one."""
_PING_S: Final = 10.0
_MOST_STREAMS: Final = 1_000
_STREAM: Final = {
    "description": "`snapshot`, then a `delta` whenever something changed.",
    "content": {"text/event-stream": {"schema": {"type": "string"}}},
}


class ReplayChange(BaseModel):
    """How a replay is to go on. What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    speed: float | None = Field(default=None, ge=MIN_SPEED, le=MAX_SPEED)
    """The run's seconds for each second."""
    paused: bool | None = None
    at: float | None = Field(default=None, allow_inf_nan=False)
    """In the run's own time, seconds since the epoch."""


class Access(BaseModel):
    """What can be done and asked for here."""

    scope: Literal["read", "worker", "admin"]
    read_only: bool
    memory: bool
    """Whether there is one to ask."""


@router.get("/live", response_class=Response, responses={**PROBLEMS, 200: _STREAM})
async def live(request: Request) -> Response:
    """The swarm as it stands, then what changes, as server-sent events."""
    context, feed = context_of(request), _site(request).feed
    if feed.readers >= _MOST_STREAMS:
        raise TransientError(f"{feed.readers} streams are open already", retry_after_s=10.0)
    return EventStream(_messages(feed), context.closing)


@router.get("/live/snapshot", responses=PROBLEMS)
def snapshot(request: Request) -> Response:
    """The swarm as it stands."""
    return Response(_site(request).feed.snapshot(), media_type="application/json")


@router.get("/access", response_model=Access, responses=PROBLEMS)
async def access(request: Request) -> Response:
    """What the token may do here, and whether the board has a memory."""
    context = context_of(request)
    held = Scope.READ if context.read_only else principal_of(request).scope
    return answer(
        {
            "scope": held.name.lower(),
            "read_only": context.read_only,
            "memory": context.memory is not None,
        }
    )


@router.post("/replay", responses=PROBLEMS, dependencies=[Depends(needs(Scope.ADMIN))])
def replay(change: ReplayChange, request: Request) -> Response:
    """Hurry, stop or move a replay. Changes what everybody is shown, and nothing else."""
    source = _site(request).replay
    if source is None:
        raise NotFoundError("this is no replay: what is shown happens now")
    source.change(speed=change.speed, paused=change.paused, at=change.at)
    return answer(source.facts())


@router.get("/commits/{oid}", responses=PROBLEMS)
def commit(
    oid: str, request: Request, since: Annotated[str | None, Query(max_length=64)] = None
) -> Response:
    """A commit of the run's repository with its patch, or all that changed after `since`."""
    run = _site(request).run
    if run is None:
        raise NotFoundError("this board belongs to no repository: there are no commits")
    return answer(commit_document(run.repository, oid, since=since))


@router.get("/agents/{agent_id:path}/conversation", responses=PROBLEMS)
def agent_conversation(
    agent_id: str,
    request: Request,
    *,
    task_id: Annotated[str | None, Query(max_length=128)] = None,
    after: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """What an agent's model said about a task, its latest if none is named, and which tools ran."""
    site = _site(request)
    document = conversation(
        context_of(request).board,
        site.spells,
        agent_id,
        task_id=task_id,
        after=after,
        folder=None if site.run is None else site.run.conversations,
        until=site.feed.now if site.replay else None,
    )
    return answer(document)


@router.get("/preview", responses=PROBLEMS)
def preview(request: Request) -> Response:
    """An address at which the built project can be looked at, as it stands on the target now."""
    site = _site(request)
    oid = None if site.run is None else site.run.target()
    if site.tickets is None or oid is None:
        raise NotFoundError("this board belongs to no repository: there is nothing to preview")
    ticket = site.tickets.issue(oid)
    url = f"/preview/{ticket.name}/{ticket.index or ''}"
    return answer({"commit": oid, "index": ticket.index, "url": url})


@preview_router.get("/preview/{ticket}/{path:path}")
def preview_file(ticket: str, path: str, request: Request) -> Response:
    """A file of the built project, for whoever has a ticket."""
    tickets = _site(request).tickets
    headers = preview_headers(f"{request.url.scheme}://{request.url.netloc}", ticket)
    try:
        if tickets is None:
            raise NotFoundError("there is nothing to preview here")
        file = tickets.read(ticket, path)
    except NotFoundError as error:
        # In the frame's own headers: what is told here is shown in it.
        return Response(str(error), 404, headers, "text/plain; charset=utf-8")
    return Response(file.body, 200, headers, file.media_type)


def _site(request: Request) -> LiveSite:
    return context_of(request).live


async def _messages(feed: Feed) -> AsyncGenerator[bytes]:
    # Taking the snapshot may wait for the feed's thread, which must not hold up the loop.
    reader = await asyncio.to_thread(feed.subscribe, asyncio.get_running_loop())
    try:
        async for message in reader.messages(idle_s=_PING_S):
            yield b": alive\n\n" if message is None else message
    finally:
        feed.leave(reader)
