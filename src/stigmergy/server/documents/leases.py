"""Claims, what is said of held tasks, and results."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from stigmergy.board import Lease
from stigmergy.server.documents.base import (
    LONGEST_WAIT_S,
    MOST_AT_ONCE,
    Given,
    Name,
    Names,
    Seconds,
    TaskId,
    Told,
)
from stigmergy.server.documents.tasks import NewTask, TaskDocument

__all__ = [
    "ClaimOrder",
    "Claimed",
    "Completion",
    "ExchangeOrder",
    "Failure",
    "HeldTask",
    "LeaseDocument",
    "Release",
    "Renewal",
    "Report",
    "Result",
    "StartOrder",
    "Wanted",
]


class LeaseDocument(Told):
    """The right to work on a task. Send it back as it is with every report on the task."""

    model_config = ConfigDict(extra="forbid", strict=True)

    task_id: TaskId
    agent_id: Name
    attempt: Annotated[int, Field(ge=0, le=2**53)] = 0
    fence: Annotated[int, Field(ge=0, le=2**53)]
    deadline: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    proof: Annotated[str, Field(max_length=100)] | None = None
    """By which the server knows a lease that it gave out; null where it does not tell one."""

    def lease(self) -> Lease:
        """As the board knows it."""
        return Lease(
            task_id=self.task_id,
            agent_id=self.agent_id,
            attempt=self.attempt,
            fence=self.fence,
            deadline=self.deadline,
        )


class Wanted(Given):
    """What an agent wants to take."""

    agent_id: Name
    limit: Annotated[int, Field(ge=1, le=MOST_AT_ONCE)] = 1
    capabilities: Names = Field(default_factory=list[str])
    task_types: Names | None = None
    lease_s: Seconds | None = None


class ClaimOrder(Wanted):
    """What an agent asks for."""

    wait_s: Annotated[float, Field(ge=0, le=LONGEST_WAIT_S, allow_inf_nan=False)] = 0.0
    """Wait so long until there is one."""


class Result(Given):
    """What came of a task."""

    lease: LeaseDocument
    result: dict[str, Any] = Field(default_factory=dict[str, Any])


class ExchangeOrder(Wanted):
    """Results, and what the agent wants next."""

    results: Annotated[list[Result], Field(min_length=1, max_length=MOST_AT_ONCE)]


class HeldTask(Told):
    """A task and the lease on it."""

    task: TaskDocument
    lease: LeaseDocument


class Claimed(Told):
    """What was claimed; empty if there was nothing."""

    claimed: list[HeldTask]


class StartOrder(Given):
    """Work has begun."""

    lease: LeaseDocument


class Renewal(Given):
    """Hold on for longer."""

    lease: LeaseDocument
    lease_s: Seconds | None = None


class Report(Given):
    """How far the work is."""

    lease: LeaseDocument
    progress: dict[str, Any]
    lease_s: Seconds | None = None


class Completion(Given):
    """The result."""

    lease: LeaseDocument
    result: dict[str, Any] = Field(default_factory=dict[str, Any])
    note: dict[str, Any] | None = None
    """For the journal."""


class Failure(Given):
    """The attempt failed."""

    lease: LeaseDocument
    error: str
    retry: bool = True
    note: dict[str, Any] | None = None


class Release(Given):
    """Given back unharmed."""

    lease: LeaseDocument
    wait_for: list[TaskId] = Field(default_factory=list[str])
    post: Annotated[list[NewTask], Field(max_length=10_000)] = Field(default_factory=list[NewTask])
    delay_s: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    reason: str = ""
    note: dict[str, Any] | None = None
