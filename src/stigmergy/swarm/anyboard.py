"""What commands need of a board: a `TaskBoard` has it, and so has a `RemoteBoard` over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Sequence
from typing import Protocol, runtime_checkable

from stigmergy.board import Event, Lease, OnDuplicate, Progress, Query, Rules, Task, TaskStatus
from stigmergy.board.figures import Figures
from stigmergy.swarm.agentboard import AgentBoard

__all__ = ["AnyBoard", "BoardJournal", "Named", "ProvesLeases"]


class Named(Protocol):
    """A task, or what stands for one."""

    @property
    def task_id(self) -> str:
        """Its id."""
        ...


@runtime_checkable
class ProvesLeases(Protocol):
    """A board that takes reports on a lease only with the proof that came with the claim."""

    def proof_of(self, lease: Lease) -> str | None:
        """What proves a lease that was claimed here."""
        ...

    def remember(self, lease: Lease, proof: str) -> None:
        """Know the proof of a lease that another process claimed."""
        ...


class BoardJournal(Protocol):
    """The journal of a board."""

    def events(self, *, after: int = 0, limit: int = 1000) -> list[Event]:
        """See `TaskBoard.events`; a page may be short, but only the last one is empty."""
        ...

    def history(self, task_id: str) -> list[Event]:
        """See `TaskBoard.history`."""
        ...

    def last_seq(self) -> int:
        """See `TaskBoard.last_seq`."""
        ...

    def watch(
        self, *, after: int = 0, stop: threading.Event, idle_s: float = 0.25
    ) -> Generator[Event]:
        """See `TaskBoard.watch`."""
        ...


class AnyBoard(AgentBoard, BoardJournal, Protocol):
    """A board to post to, to take from, to look at and to steer. Thread-safe."""

    @property
    def url(self) -> str:
        """Where it is, without a password."""
        ...

    def post(self, task: Task, *, on_duplicate: OnDuplicate = "keep") -> str:
        """See `TaskBoard.post`."""
        ...

    def post_many(self, tasks: Iterable[Task], *, on_duplicate: OnDuplicate = "keep") -> list[str]:
        """See `TaskBoard.post_many`."""
        ...

    # Looking ---------------------------------------------------------------------------------

    def list_all(
        self,
        *,
        statuses: Iterable[TaskStatus] | None = None,
        task_types: Iterable[str] | None = None,
        parent_id: str | None = None,
        claimed_by: str | None = None,
        limit: int | None = None,
    ) -> list[Task]:
        """See `TaskBoard.list_all`."""
        ...

    def progress(self, parent_id: str | None = None) -> Progress:
        """See `TaskBoard.progress`."""
        ...

    def figures(self, *, now: float) -> Figures:
        """See `TaskBoard.figures`; a server goes by its own time."""
        ...

    def rules(self) -> Rules:
        """See `TaskBoard.rules`."""
        ...

    # Steering --------------------------------------------------------------------------------

    def cancel(self, task_id: str, *, reason: str = "cancelled") -> Task:
        """See `TaskBoard.cancel`."""
        ...

    def retry(self, task_id: str) -> Task:
        """See `TaskBoard.retry`."""
        ...

    def cancel_all(self, query: Query, *, reason: str = "cancelled") -> Sequence[Named]:
        """See `TaskBoard.cancel_all`."""
        ...

    def retry_all(self, query: Query, *, error: str = "") -> Sequence[Named]:
        """See `TaskBoard.retry_all`."""
        ...

    def set_priority(self, task_id: str, priority: int) -> Task:
        """See `TaskBoard.set_priority`."""
        ...

    def approve(self, task_id: str, *, by: str, reason: str = "") -> Task:
        """See `TaskBoard.approve`."""
        ...

    def refuse(self, task_id: str, *, by: str, reason: str = "") -> Task:
        """See `TaskBoard.refuse`."""
        ...

    def pause(self, task_type: str | None) -> None:
        """See `TaskBoard.pause`."""
        ...

    def resume(self, task_type: str | None) -> None:
        """See `TaskBoard.resume`."""
        ...
