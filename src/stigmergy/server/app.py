"""The server wired: which routers there are, what every request passes, what starts and ends.

A new part of the API is a router in `routers()`. It gets at the board through `context_of`, calls
it through `context.bridge`, and follows the journal through `context.tail`.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp

import stigmergy
from stigmergy.board import TaskBoard
from stigmergy.errors import StigmergyError
from stigmergy.memory import Memory
from stigmergy.monitor import SwarmView
from stigmergy.server.auth import TokenTable
from stigmergy.server.bridge import Bridge
from stigmergy.server.context import LeaseProofs, ServedRun, ServerContext
from stigmergy.server.desk import ClaimDesk
from stigmergy.server.documents.problems import ProblemDocument
from stigmergy.server.guard import BodyLimits, Guard, GuardRules
from stigmergy.server.idempotency import AnswerBook
from stigmergy.server.live import Feed, JournalSource, LiveSite, ReplaySource, RunFiles
from stigmergy.server.live import routes as live
from stigmergy.server.origins import Origins
from stigmergy.server.problems import Problem, invalid, problem_of, problem_response
from stigmergy.server.rates import Rate, RateTable
from stigmergy.server.routes import (
    blobs,
    journal,
    leases,
    memory,
    metrics,
    site,
    steering,
    tasks,
    whole,
)
from stigmergy.server.tail import JournalTail

__all__ = ["AppSettings", "build_app", "openapi_document", "routers"]

_ABOUT: Final = (
    "The task board over HTTP. Send a token as `Authorization: Bearer TOKEN`. Errors are problem "
    "documents (RFC 9457); branch on `type`. Send an `Idempotency-Key` with a write, and it is "
    "done once however often it is sent."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppSettings:
    """How a board is served."""

    origins: Origins
    tokens: TokenTable
    answers: Path
    """The file that answers to writes with an `Idempotency-Key` are kept in."""
    limits: BodyLimits = field(default_factory=BodyLimits)
    rate: Rate = field(default_factory=Rate)
    read_only: bool = False
    memory: Memory | None = None
    """Open; it is not closed."""
    run: ServedRun | None = None
    """The coding run that the board belongs to."""
    replay: ReplaySource | None = None
    """Show this instead of what happens on the board."""


def routers() -> list[APIRouter]:
    """All that there is, in the order in which addresses are looked up."""
    return [
        leases.router,  # before tasks: /tasks/claim is no task
        tasks.router,
        steering.router,
        whole.router,
        journal.router,
        blobs.router,
        memory.router,
        metrics.router,
        site.router,
        live.router,
        live.preview_router,
    ]


def build_app(
    board: TaskBoard, settings: AppSettings, *, on_ready: Callable[[ServerContext], None]
) -> ASGIApp:
    """The ASGI application of a board.

    Args:
        board: open; it is not closed.
        settings: how it is served.
        on_ready: called in the event loop once requests can be answered.
    """
    bridge = Bridge()
    answers = AnswerBook(settings.answers, server=secrets.token_hex(8))
    proofs = LeaseProofs(answers.secret("lease", secrets.token_bytes(32)))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        tail = JournalTail(board, asyncio.get_running_loop())
        source = settings.replay or JournalSource(board, clock=time.time)
        files = settings.run and await asyncio.to_thread(
            RunFiles.open, settings.run.directory, settings.run.spec, board
        )
        shown = LiveSite(Feed(source, SwarmView), board, files)
        desk = ClaimDesk(board, bridge)
        context = ServerContext(
            board=board,
            bridge=bridge,
            tail=tail,
            desk=desk,
            proofs=proofs,
            closing=asyncio.Event(),
            live=shown,
            read_only=settings.read_only,
            memory=settings.memory,
            run=settings.run,
        )
        app.state.context = context
        tail.listen(desk.take)
        tail.start()
        desk.open()
        shown.feed.open()
        on_ready(context)
        try:
            yield
        finally:
            context.closing.set()
            await desk.close()
            await asyncio.to_thread(shown.close)
            await asyncio.to_thread(tail.close)
            await asyncio.to_thread(bridge.close)
            answers.close()

    app = _api(lifespan)
    return Guard(
        app,
        GuardRules(
            origins=settings.origins,
            tokens=settings.tokens,
            rates=RateTable(settings.rate),
            limits=settings.limits,
            answers=answers,
            bridge=bridge,
            read_only=settings.read_only,
        ),
    )


def openapi_document() -> dict[str, Any]:
    """The API's description, without a board."""
    return _api(None).openapi()


def _api(lifespan: Callable[[FastAPI], Any] | None) -> FastAPI:
    app = FastAPI(
        title="Stigmergy",
        version=stigmergy.__version__,
        description=_ABOUT,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        exception_handlers={
            RequestValidationError: _on_invalid,
            HTTPException: _on_error,
            StigmergyError: _on_error,
            Problem: _on_error,
        },
    )
    for router in routers():
        app.include_router(router)
    app.mount("/static", site.DashboardFiles())

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _with_problems(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    description=app.description,
                    routes=app.routes,
                )
            )
        return app.openapi_schema

    app.openapi = document
    return app


def _with_problems(document: dict[str, Any]) -> dict[str, Any]:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["ProblemDocument"] = ProblemDocument.model_json_schema()
    return document


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem_response(invalid(error.errors()))


async def _on_error(_: Request, error: Exception) -> Response:
    return problem_response(problem_of(error))
