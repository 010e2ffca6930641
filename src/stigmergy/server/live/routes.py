"""The feed over HTTP: the stream, the snapshot, a commit, a conversation, the preview."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import anyio.to_thread
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from stigmergy.board import JsonObject, TaskBoard
from stigmergy.coding.git.repository import Repository
from stigmergy.errors import NotFoundError
from stigmergy.server.live.commits import commit_document
from stigmergy.server.live.conversation import conversation
from stigmergy.server.live.feed import Feed
from stigmergy.server.live.playhead import MAX_SPEED, MIN_SPEED
from stigmergy.server.live.preview import PreviewTickets, preview_headers
from stigmergy.server.live.sources import ReplaySource

__all__ = ["LiveSite", "live_routes", "preview_routes"]

_PING_S: Final = 10.0
_PING: Final = b": still here\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSite:
    """What the routes read. A board that no coding run belongs to has only feed and board."""

    feed: Feed
    board: TaskBoard
    repository: Repository | None = None
    target: Callable[[], str | None] = field(default=lambda: None)
    """The commit that the run's target stands at."""
    conversations: Path | None = None
    tickets: PreviewTickets | None = None

    @classmethod
    def of_run(
        cls,
        feed: Feed,
        board: TaskBoard,
        *,
        repository: Repository,
        target: Callable[[], str | None],
        conversations: Path,
    ) -> LiveSite:
        """The site of a coding run."""
        return cls(
            feed=feed,
            board=board,
            repository=repository,
            target=target,
            conversations=conversations,
            tickets=PreviewTickets(repository),
        )


class ReplayChange(BaseModel):
    """How a replay is to go on. What is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    speed: float | None = Field(default=None, ge=MIN_SPEED, le=MAX_SPEED)
    paused: bool | None = None
    at: float | None = Field(default=None, allow_inf_nan=False)
    """In the run's own time, seconds since the epoch."""


def live_routes(site: LiveSite) -> APIRouter:
    """Everything under `/api/v1` that only reads. Who may read is decided around it."""
    router = APIRouter(prefix="/api/v1", tags=["live"])
    _add_feed(router, site)
    _add_run(router, site)
    return router


def preview_routes(site: LiveSite) -> APIRouter:
    """`/preview/…`: needs no token, the ticket in the path is one."""
    router = APIRouter(tags=["live"])

    @router.get("/preview/{ticket}/{path:path}", include_in_schema=False)
    def preview_file(request: Request, ticket: str, path: str) -> Response:
        origin = f"{request.url.scheme}://{request.url.netloc}"
        headers = preview_headers(origin, ticket)
        if site.tickets is None:
            raise NotFoundError("there is nothing to preview here")
        try:
            file = site.tickets.read(ticket, path)
        except NotFoundError as error:
            return Response(str(error), 404, headers, "text/plain; charset=utf-8")
        return Response(file.body, 200, headers, file.media_type)

    return router


def _add_feed(router: APIRouter, site: LiveSite) -> None:
    @router.get("/live", response_class=StreamingResponse)
    async def live() -> StreamingResponse:
        """The swarm as it stands, then what changes: `snapshot`, then `delta` events."""
        return StreamingResponse(
            _stream(site.feed),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    @router.get("/live/snapshot", response_class=JSONResponse)
    def snapshot() -> Response:
        """The swarm as it stands."""
        return Response(
            site.feed.snapshot(),
            media_type="application/json",
            headers={"Cache-Control": "no-store"},
        )

    @router.post("/replay")
    def replay(change: ReplayChange) -> JsonObject:
        """Hurry, stop or move a replay. Changes what is shown, to everybody; nothing else."""
        source = site.feed.source
        if not isinstance(source, ReplaySource):
            raise NotFoundError("this is no replay: what is shown happens now")
        source.change(speed=change.speed, paused=change.paused, at=change.at)
        return source.facts()


def _add_run(router: APIRouter, site: LiveSite) -> None:
    @router.get("/commits/{oid}")
    def commit(oid: str) -> JsonObject:
        """A commit of the run's repository, with its patch."""
        if site.repository is None:
            raise NotFoundError("this board belongs to no repository: there are no commits")
        return commit_document(site.repository, oid)

    @router.get("/agents/{agent_id:path}/conversation")
    def agent_conversation(
        agent_id: str,
        task_id: Annotated[str | None, Query(max_length=128)] = None,
        after: Annotated[int, Query(ge=0)] = 0,
    ) -> JsonObject:
        """What an agent's model said about a task, and which tools it used."""
        until = site.feed.now if isinstance(site.feed.source, ReplaySource) else None
        return conversation(
            site.board,
            agent_id,
            task_id=task_id,
            after=after,
            folder=site.conversations,
            until=until,
        )

    @router.post("/preview")
    def preview() -> JsonObject:
        """Leave to look at the built project as it stands on the target now."""
        commit = site.target()
        if site.tickets is None or commit is None:
            raise NotFoundError("this board belongs to no repository: there is nothing to preview")
        ticket = site.tickets.issue(commit)
        return {
            "commit": commit,
            "index": ticket.index,
            "url": f"/preview/{ticket.name}/{ticket.index or ''}",
        }


async def _stream(feed: Feed) -> AsyncGenerator[bytes]:
    # Taking the snapshot may wait for the feed's thread, which must not hold up the loop.
    reader = await anyio.to_thread.run_sync(feed.subscribe, asyncio.get_running_loop())
    try:
        async for message in reader.messages(idle_s=_PING_S):
            yield _PING if message is None else message
    finally:
        feed.leave(reader)
