"""The dashboard's files, and whether the server is well. No token is needed for these."""

from __future__ import annotations

import asyncio
import importlib.resources
from functools import partial
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from stigmergy.board import Event
from stigmergy.errors import NotFoundError
from stigmergy.server.context import context_of
from stigmergy.server.routes.answers import answer

__all__ = ["PAGE_HEADERS", "DashboardFiles", "router"]

router: Final = APIRouter(include_in_schema=False)
PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' data:; frame-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""Of the dashboard: nothing from elsewhere, no script in the page, no HTML from text."""
_FOLDER: Final = Path(str(importlib.resources.files("stigmergy.server"))) / "static"


class DashboardFiles(StaticFiles):
    """The files under `static/`, with the dashboard's policy."""

    def __init__(self) -> None:
        super().__init__(directory=_FOLDER, check_dir=False)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file."""
        response = await super().get_response(path, scope)
        response.headers.update(PAGE_HEADERS)
        return response


@router.get("/")
async def dashboard() -> Response:
    """The page."""
    page = _FOLDER / "index.html"
    if not page.is_file():
        raise NotFoundError("this installation has no dashboard; the API is under /api/v1")
    return FileResponse(page, headers=PAGE_HEADERS)


@router.get("/healthz")
async def health(request: Request) -> Response:
    """Whether the board can be read; asked of it once for all who ask at a time."""
    context, state = context_of(request), request.app.state
    looking: asyncio.Future[list[Event]] | None = getattr(state, "looking", None)
    if looking is None or looking.done():
        # Nobody needs a token for this, so it must not fill the line of those who have one.
        look = context.bridge.call(partial(context.board.events, after=0, limit=1))
        state.looking = looking = asyncio.ensure_future(look)
    await asyncio.shield(looking)
    return answer({"status": "ok"})
