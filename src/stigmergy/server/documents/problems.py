"""Errors, as RFC 9457 has them."""

from __future__ import annotations

from pydantic import ConfigDict

from stigmergy.server.documents.base import Told

__all__ = ["ProblemDocument"]


class ProblemDocument(Told):
    """What went wrong. Source: RFC 9457."""

    model_config = ConfigDict(extra="allow")

    type: str
    """`urn:stigmergy:problem:` and a name that stays the same."""
    title: str
    status: int
    detail: str
    retry_after_s: float | None = None
