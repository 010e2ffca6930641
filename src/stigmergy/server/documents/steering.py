"""What people say to a board."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from stigmergy.board import TaskStatus
from stigmergy.server.documents.base import Given, Name, Names, TaskId, Told

__all__ = [
    "AgentsWish",
    "CancelMany",
    "Choice",
    "Chosen",
    "PauseOrder",
    "Priority",
    "Reason",
    "RetryMany",
    "Ruling",
]


class Reason(Given):
    """Why."""

    reason: str = "cancelled"


class Choice(Given):
    """Tasks that pass all that is given; null does not filter."""

    statuses: list[Annotated[TaskStatus, Field(strict=False)]] | None = None
    task_types: Names | None = None
    parent_id: TaskId | None = None


class CancelMany(Choice):
    """Which tasks to cancel, of those that are not finished."""

    reason: str = "cancelled"


class RetryMany(Choice):
    """Which tasks to begin anew, of those that failed or were cancelled."""

    error: str = ""
    """Only those whose error has this text in it."""


class Chosen(Told):
    """The tasks that something was done to for their own sake."""

    task_ids: list[str]


class Priority(Given):
    """A place in the claim order."""

    priority: Annotated[int, Field(ge=1, le=10)]


class Ruling(Given):
    """What a person decided about what waited for one."""

    by: Name
    reason: str = ""


class PauseOrder(Given):
    """Which type; null stands for all."""

    task_type: Annotated[str, Field(min_length=1, max_length=100)] | None = None


class AgentsWish(Given):
    """How many agents are wanted."""

    count: Annotated[int, Field(ge=0, le=1_000)]
