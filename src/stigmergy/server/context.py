"""What the routes work with, and how they get at it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from fastapi import Request
from fastapi.security import HTTPBearer

from stigmergy.board import Lease, TaskBoard
from stigmergy.board.task import JsonObject
from stigmergy.coding.rundir import RunDirectory
from stigmergy.coding.spec import RunSpec
from stigmergy.memory import Memory
from stigmergy.server.auth import Principal, Scope
from stigmergy.server.bridge import Bridge
from stigmergy.server.desk import ClaimDesk
from stigmergy.server.live.site import LiveSite
from stigmergy.server.problems import Problem
from stigmergy.server.tail import JournalTail

__all__ = [
    "BEARER",
    "PROBLEMS",
    "LeaseProofs",
    "ServedRun",
    "ServerContext",
    "context_of",
    "needs",
    "principal_of",
    "unless_gone",
]

_T = TypeVar("_T")

BEARER: Final = HTTPBearer(scheme_name="token", auto_error=False)
"""For the OpenAPI document; the guard looks at the token."""
_PROBLEM_CONTENT: Final = {
    "application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}
}
_TELLS: Final = {
    400: "The request is no HTTP that is understood here.",
    401: "The token is missing or not good.",
    403: "The token, the page or the server does not allow it.",
    404: "There is no such thing.",
    409: "The lease is lost, or the same request is being carried out.",
    413: "The body is too large.",
    422: "The request is wrong, and the problem says how.",
    429: "Too many requests with this token; see Retry-After.",
    503: "Busy; see Retry-After.",
}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": text, "content": _PROBLEM_CONTENT} for status, text in _TELLS.items()
}
"""What any route may answer, for the OpenAPI document."""


class LeaseProofs:
    """By which the server knows leases that it gave out: a fence can be guessed, a proof cannot."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, lease: Lease) -> str:
        """The proof of a lease."""
        text = f"{lease.task_id}\0{lease.fence}\0{lease.agent_id}".encode(errors="surrogatepass")
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()[:32]

    def check(self, lease: Lease, proof: str | None, *, by: Principal) -> None:
        """See that a worker holds what it reports on; who steers may report on anything."""
        if by.scope >= Scope.ADMIN and proof is None:
            return
        # As bytes: texts are compared in constant time only where they are ASCII.
        given = (proof or "").encode(errors="surrogatepass")
        if not hmac.compare_digest(self.of(lease).encode(), given):
            text = "the lease was not given out by this server: send it back as `claim` told it"
            raise Problem(status=403, kind="forged-lease", detail=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedRun:
    """The coding run that a served board belongs to."""

    directory: RunDirectory
    spec: RunSpec
    """With the repository's path in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerContext:
    """A board that is being served."""

    board: TaskBoard
    bridge: Bridge
    tail: JournalTail
    desk: ClaimDesk
    proofs: LeaseProofs
    read_only: bool = False
    """Nothing on the board is changed through this server."""
    closing: asyncio.Event
    """Set when the server ends: streams end then."""
    live: LiveSite
    """The feed of what happens, with the files of the coding run that the board belongs to."""
    memory: Memory | None = None
    """What the swarm has learned; None where it is not served."""
    run: ServedRun | None = None
    """None of a board that belongs to no run here."""

    def document_of(self, lease: Lease) -> JsonObject:
        """The lease as the client is to send it back."""
        return {
            "task_id": lease.task_id,
            "agent_id": lease.agent_id,
            "attempt": lease.attempt,
            "fence": lease.fence,
            "deadline": lease.deadline,
            "proof": self.proofs.of(lease),
        }


def context_of(request: Request) -> ServerContext:
    """The board behind a request."""
    context = request.app.state.context
    assert isinstance(context, ServerContext)
    return context


def principal_of(request: Request) -> Principal:
    """Who calls: the guard has put it there."""
    principal = request.scope["state"]["principal"]
    assert isinstance(principal, Principal)
    return principal


def needs(scope: Scope) -> Callable[[Request], Coroutine[Any, Any, None]]:
    """A dependency that refuses who may do less."""

    # Async though it waits for nothing: FastAPI gives every other one to a thread.
    async def check(request: Request) -> None:
        held = principal_of(request).scope
        if held < scope:
            text = f"this needs a token of scope {scope.name.lower()}, not {held.name.lower()}"
            raise Problem(status=403, kind="scope", detail=text)

    return check


async def unless_gone(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """Do the work, but cancel it when the client goes away.

    Raises:
        Problem: it went away.
    """
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Problem(status=499, kind="gone", detail="the client went away")
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
