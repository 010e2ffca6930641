"""Tasks over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from stigmergy.board import OnDuplicate, Task, TaskStatus
from stigmergy.server.documents.base import Given, Name, Names, TaskId, Told

__all__ = [
    "Listed",
    "NewTask",
    "PostMany",
    "Posted",
    "TaskDocument",
    "TaskPage",
]


class NewTask(Given):
    """A task to be posted."""

    task_type: Annotated[str, Field(min_length=1, max_length=100)]
    description: str = ""
    payload: dict[str, Any] = Field(default_factory=dict[str, Any])
    task_id: TaskId | None = None
    """A random one if not given; with an `Idempotency-Key` one that follows from it."""
    requires: Names = Field(default_factory=list[str])
    depends_on: list[TaskId] = Field(default_factory=list[str])
    parent_id: TaskId | None = None
    unique_key: Name | None = None
    limit_key: Name | None = None
    priority: Annotated[int, Field(ge=1, le=10)] = 5
    max_attempts: Annotated[int, Field(ge=1, le=2**53)] = 3
    not_before: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0

    def task(self, task_id: str) -> Task:
        """The task, under that id if it has none of its own."""
        return Task(
            task_type=self.task_type,
            description=self.description,
            payload=self.payload,
            task_id=self.task_id or task_id,
            requires=tuple(self.requires),
            depends_on=tuple(self.depends_on),
            parent_id=self.parent_id,
            unique_key=self.unique_key,
            limit_key=self.limit_key,
            priority=self.priority,
            max_attempts=self.max_attempts,
            not_before=self.not_before,
        )


class PostMany(Given):
    """Tasks to be posted, all or none."""

    tasks: Annotated[list[NewTask], Field(max_length=10_000)]
    on_duplicate: OnDuplicate = "keep"


class Posted(Told):
    """The ids under which the tasks stand, in the order given."""

    task_ids: list[str]


class TaskDocument(Told):
    """A task as it stands."""

    task_id: str
    task_type: str
    description: str
    payload: dict[str, Any]
    requires: list[str]
    depends_on: list[str]
    waiting_on: list[str]
    parent_id: str | None
    unique_key: str | None
    limit_key: str | None
    priority: int
    lag_s: float
    status: TaskStatus
    attempts: int
    max_attempts: int
    not_before: float
    created_at: float
    claimed_by: str | None
    claimed_at: float | None
    lease_until: float | None
    fence: int
    progress: dict[str, Any] | None
    finished_at: float | None
    result: dict[str, Any] | None
    error: str | None


class Listed(Told):
    """One task."""

    task: TaskDocument


class TaskPage(Told):
    """Tasks in posting order."""

    tasks: list[TaskDocument]
    next_cursor: str | None
    """What `cursor` takes for the tasks after these; null on the last page."""
