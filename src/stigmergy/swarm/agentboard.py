"""What an agent needs of a board: a `TaskBoard` has it, and so has a `RemoteBoard` over HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from stigmergy.board import JsonObject, Lease, Task, TaskStatus

__all__ = ["AgentBoard"]


class AgentBoard(Protocol):
    """A board to take tasks from and report to. Thread-safe. Errors are those of `TaskBoard`."""

    def claim(
        self,
        agent_id: str,
        *,
        capabilities: Iterable[str] = (),
        task_types: Iterable[str] | None = None,
        lease_s: float | None = None,
    ) -> Task | None:
        """See `TaskBoard.claim`."""
        ...

    def claim_within(
        self,
        agent_id: str,
        *,
        wait_s: float,
        capabilities: Iterable[str] = (),
        task_types: Iterable[str] | None = None,
        lease_s: float | None = None,
    ) -> Task | None:
        """See `TaskBoard.claim_within`."""
        ...

    def complete_and_claim(
        self,
        agent_id: str,
        results: Iterable[tuple[Lease | Task, JsonObject]],
        limit: int = 1,
        *,
        capabilities: Iterable[str] = (),
        task_types: Iterable[str] | None = None,
        lease_s: float | None = None,
    ) -> list[Task]:
        """See `TaskBoard.complete_and_claim`; an older server needs a call for each."""
        ...

    def start(self, held: Lease | Task) -> Task:
        """See `TaskBoard.start`."""
        ...

    def renew(self, held: Lease | Task, *, lease_s: float | None = None) -> Lease:
        """See `TaskBoard.renew`."""
        ...

    def report(
        self, held: Lease | Task, progress: JsonObject, *, lease_s: float | None = None
    ) -> Task:
        """See `TaskBoard.report`."""
        ...

    def complete(
        self,
        held: Lease | Task,
        result: JsonObject | None = None,
        *,
        note: JsonObject | None = None,
    ) -> Task:
        """See `TaskBoard.complete`."""
        ...

    def fail(
        self,
        held: Lease | Task,
        error: str,
        *,
        retry: bool = True,
        note: JsonObject | None = None,
    ) -> Task:
        """See `TaskBoard.fail`."""
        ...

    def release(
        self,
        held: Lease | Task,
        *,
        wait_for: Iterable[str] = (),
        post: Iterable[Task] = (),
        delay_s: float = 0.0,
        reason: str = "",
        note: JsonObject | None = None,
    ) -> Task:
        """See `TaskBoard.release`."""
        ...

    def get(self, task_id: str) -> Task | None:
        """See `TaskBoard.get`."""
        ...

    def list_all(
        self, *, statuses: Iterable[TaskStatus] | None = None, parent_id: str | None = None
    ) -> list[Task]:
        """See `TaskBoard.list_all`."""
        ...

    def load(self, value: JsonObject | None) -> JsonObject:
        """See `TaskBoard.load`."""
        ...
