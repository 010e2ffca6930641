"""What a server's answer means: a document, or the error that a board would have raised. Pure."""

from __future__ import annotations

import json
from typing import Final, cast

import httpx

from stigmergy.board import JsonObject
from stigmergy.errors import (
    BudgetExceededError,
    CorruptError,
    LostLeaseError,
    NotFoundError,
    StigmergyError,
    TransientError,
    UnsupportedError,
    UsageError,
)

__all__ = ["NoRouteError", "answer_of"]

_PROBLEM: Final = "urn:stigmergy:problem:"
_AGAIN: Final = frozenset({"busy", "too-many-requests", "under-way", "too-slow"})


class NoRouteError(UnsupportedError):
    """The server has no such verb: it is of an older version."""


def answer_of(response: httpx.Response) -> JsonObject:
    """The document of a good answer.

    Raises:
        StigmergyError: of the kind that the problem is.
    """
    document = _document(response)
    if response.is_success and document is not None:
        return document
    kind = str((document or {}).get("type", ""))
    if document is not None and kind.startswith(_PROBLEM):
        raise _error(kind.removeprefix(_PROBLEM), response.status_code, document)
    text = f"{response.request.url} answered with {response.status_code} and no problem document"
    if response.status_code >= 500 or response.is_success:
        raise TransientError(f"{text}: is something between that is no Stigmergy server?")
    raise UsageError(text)


def _document(response: httpx.Response) -> JsonObject | None:
    """The JSON object in an answer, if it is one."""
    try:
        value: object = json.loads(response.content or b"{}")
    except (ValueError, RecursionError):
        return None
    return cast("JsonObject", value) if isinstance(value, dict) else None


def _error(kind: str, status: int, problem: JsonObject) -> StigmergyError:
    detail = str(problem.get("detail", "")) or f"the server answered with {status}"
    if kind in _AGAIN:
        retry = problem.get("retry_after_s")
        return TransientError(
            detail, retry_after_s=float(retry) if isinstance(retry, int | float) else None
        )
    match kind:
        case "lost-lease":
            return LostLeaseError(
                str(problem.get("task_id", "")),
                agent_id=str(problem.get("agent_id", "")),
                fence=int(problem.get("fence", 0)),
                reason=str(problem.get("reason", detail)),
            )
        case "not-found":
            return NotFoundError(detail)
        case "corrupt":
            return CorruptError(detail, where=str(problem.get("where", "the server")))
        case "unsupported":
            return UnsupportedError(detail)
        case "method-not-allowed":
            return NoRouteError(
                "the server is of an older version, which cannot do this: update it"
            )
        case "budget-exceeded":
            return BudgetExceededError(detail, scope=str(problem.get("scope", "")))
        case _ if status >= 500:
            return StigmergyError(f"the server failed: {detail}")
        case _:
            return UsageError(detail)
