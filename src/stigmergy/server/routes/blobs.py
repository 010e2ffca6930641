"""Values too large for a task: kept as files, named by their SHA-256."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Path, Request
from starlette.responses import Response

from stigmergy.errors import CorruptError, NotFoundError
from stigmergy.server.auth import Scope
from stigmergy.server.context import BEARER, PROBLEMS, context_of, needs
from stigmergy.server.documents.board import BlobReference
from stigmergy.server.routes.answers import answer

__all__ = ["router"]

router: Final = APIRouter(prefix="/api/v1", tags=["blobs"], dependencies=[Depends(BEARER)])
_READ: Final = [Depends(needs(Scope.READ))]
_WORK: Final = [Depends(needs(Scope.WORKER))]

Digest = Annotated[str, Path(pattern="^sha256-[0-9a-f]{64}$")]


@router.post(
    "/blobs",
    dependencies=_WORK,
    status_code=201,
    response_model=BlobReference,
    responses=PROBLEMS,
)
async def keep(value: Annotated[dict[str, Any], Body()], request: Request) -> Response:
    """Keep a JSON object; post the answer as a payload, or hand it in as a result. Idempotent."""
    context = context_of(request)
    return answer(await context.bridge.call(partial(context.board.keep, value)), status=201)


@router.get("/blobs/{digest}", dependencies=_READ, responses=PROBLEMS)
async def read(digest: Digest, request: Request) -> dict[str, Any]:
    """The JSON object that was kept."""
    context = context_of(request)
    try:
        return await context.bridge.call(partial(context.board.load, {"$blob": digest}))
    except CorruptError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            raise NotFoundError(f"there is no {digest}") from None
        raise
