"""The board as a whole: journal, progress, figures, rules and files."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from stigmergy.server.documents.base import Told

__all__ = [
    "BlobReference",
    "EventDocument",
    "EventPage",
    "FiguresDocument",
    "ProgressDocument",
    "RuleDocument",
    "RulesDocument",
]


class ProgressDocument(Told):
    """How far a set of tasks has come."""

    total: int
    pending: int
    in_progress: int
    completed: int
    failed: int
    cancelled: int


class EventDocument(Told):
    """One line of the journal."""

    seq: int
    at: float
    kind: str
    task_id: str
    agent_id: str
    data: dict[str, Any]


class EventPage(Told):
    """Events, oldest first."""

    events: list[EventDocument]
    more: bool
    """Whether there are others after these."""
    last_seq: int
    """Of the journal's latest event; 0 before the first."""


class BlobReference(Told):
    """What stands for a large value: post it as a payload, or hand it in as a result."""

    model_config = ConfigDict(populate_by_name=True)

    blob: Annotated[str, Field(alias="$blob")]
    bytes: int


class FiguresDocument(Told):
    """The board in figures. Null is unknown, or that there is none."""

    by_type: dict[str, dict[str, int]]
    """Of each type how many tasks stand where, without zeros."""
    oldest_ready_s: float | None
    """How long the task waits that could be claimed the longest."""
    held: int
    overdue: int
    """Held tasks whose lease has run out."""
    throughput: dict[str, dict[str, int] | None]
    """Of the last `minute` and `hour`; null where the journal does not go back so far."""


class RuleDocument(Told):
    """A rule: its name begins with its kind, and what its body holds goes by that."""

    name: str
    body: dict[str, Any]
    due_at: float | None


class RulesDocument(Told):
    """All rules of the board."""

    rules: list[RuleDocument]
