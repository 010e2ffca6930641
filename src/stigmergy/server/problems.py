"""Every error as an RFC 9457 problem document, and which error is which: one table for all routes.

Pure. What is not foreseen becomes a 500 that tells nothing of the program's inside.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from stigmergy.board.task import JsonObject
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
from stigmergy.memory.writing import StaleVersionError

__all__ = ["PREFIX", "Problem", "invalid", "problem_of", "problem_response"]

PREFIX: Final = "urn:stigmergy:problem:"
"""Before the name of a kind in `type`."""
_MEDIA_TYPE: Final = "application/problem+json"
_DETAIL_CHARS: Final = 2000
_BUSY_S: Final = 1.0
"""After which a board that was busy may be asked again, where it did not say."""


@dataclass(eq=False, kw_only=True)
class Problem(Exception):  # noqa: N818 - the standard's own word
    """What went wrong, as the client is told."""

    status: int
    kind: str
    """The last part of `type`: clients branch on it."""
    detail: str
    retry_after_s: float | None = None
    facts: JsonObject = field(default_factory=dict[str, Any])
    """Further members of the document."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def document(self) -> JsonObject:
        """The body. Source: RFC 9457, section 3."""
        document: JsonObject = {
            "type": f"{PREFIX}{self.kind}",
            "title": self.kind.replace("-", " ").capitalize(),
            "status": self.status,
            "detail": self.detail[:_DETAIL_CHARS],
        }
        if self.retry_after_s is not None:
            document["retry_after_s"] = self.retry_after_s
        return {**self.facts, **document}


def problem_of(error: Exception) -> Problem:
    """The problem that an error is, to a client."""
    match error:
        case Problem():
            return error
        case HTTPException():
            return _of_http(error)
        case LostLeaseError():
            facts: JsonObject = {
                "task_id": error.task_id,
                "agent_id": error.agent_id,
                "fence": error.fence,
                "reason": error.reason,
            }
            return Problem(status=409, kind="lost-lease", detail=str(error), facts=facts)
        case NotFoundError():
            return Problem(status=404, kind="not-found", detail=str(error))
        case UsageError():
            return Problem(status=422, kind="refused", detail=str(error))
        case StaleVersionError():
            return Problem(status=409, kind="stale-version", detail=str(error))
        case TransientError():
            retry = error.retry_after_s or _BUSY_S
            return Problem(status=503, kind="busy", detail=str(error), retry_after_s=retry)
        case CorruptError():
            return Problem(
                status=500, kind="corrupt", detail=str(error), facts={"where": error.where}
            )
        case UnsupportedError():
            return Problem(status=501, kind="unsupported", detail=str(error))
        case BudgetExceededError():
            facts = {"scope": error.scope}
            return Problem(status=402, kind="budget-exceeded", detail=str(error), facts=facts)
        case StigmergyError():
            return Problem(status=500, kind="failed", detail=str(error))
        case _:
            text = "the server met an error that it did not foresee; its log has more"
            return Problem(status=500, kind="unforeseen", detail=text)


def invalid(faults: Iterable[Mapping[str, Any]]) -> Problem:
    """A request that does not have the form which the OpenAPI document tells."""
    errors = [
        {"where": ".".join(str(part) for part in fault["loc"]), "what": str(fault["msg"])}
        for fault in faults
    ][:20]
    said = "; ".join(f"{each['where']}: {each['what']}" for each in errors)
    return Problem(status=422, kind="invalid", detail=said, facts={"errors": errors})


def problem_response(problem: Problem) -> Response:
    """The answer with the document, and the headers that go with it."""
    headers = dict(problem.headers)
    if problem.retry_after_s is not None:
        headers["Retry-After"] = str(math.ceil(problem.retry_after_s))
    # ASCII alone: a text may quote what is no valid UTF-8.
    return Response(
        json.dumps(problem.document()).encode(),
        status_code=problem.status,
        media_type=_MEDIA_TYPE,
        headers=headers,
    )


def _of_http(error: HTTPException) -> Problem:
    kind = HTTPStatus(error.status_code).phrase.lower().replace(" ", "-").replace("'", "")
    detail = {
        404: "there is nothing at this address",
        405: "the address does not have this method",
    }.get(error.status_code, error.detail)
    return Problem(
        status=error.status_code, kind=kind, detail=detail, headers=dict(error.headers or {})
    )
