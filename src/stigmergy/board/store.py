"""The Store seam: a transactional table of tasks and a journal of events.

A store decides nothing. `TaskBoard` reads, applies the pure lifecycle and writes inside one
exclusive transaction; a store makes that transaction atomic, durable and visible to every other
process on the same board, and answers the few questions that need an index.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stigmergy.board.task import Event, Task, TaskStatus
from stigmergy.errors import UnsupportedError, UsageError

__all__ = ["Clock", "Match", "Query", "Store", "Transaction", "open_store"]

Clock = Callable[[], float]
"""Seconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which tasks an agent may take."""

    capabilities: frozenset[str] = frozenset()
    """A task is taken only if all that it requires is among them."""
    task_types: frozenset[str] | None = None
    """None takes any type."""

    def accepts(self, task_type: str, requires: Collection[str]) -> bool:
        """Whether such an agent may take a task of that type and those requirements."""
        return (self.task_types is None or task_type in self.task_types) and (
            self.capabilities.issuperset(requires)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A filter over tasks; what is None does not filter. Results come in posting order."""

    statuses: frozenset[TaskStatus] | None = None
    task_types: frozenset[str] | None = None
    parent_id: str | None = None
    claimed_by: str | None = None

    def accepts(self, task: Task) -> bool:
        """Whether the task passes."""
        return (
            (self.statuses is None or task.status in self.statuses)
            and (self.task_types is None or task.task_type in self.task_types)
            and (self.parent_id is None or task.parent_id == self.parent_id)
            and (self.claimed_by is None or task.claimed_by == self.claimed_by)
        )


class Transaction(Protocol):
    """Reads and writes of one exclusive transaction. Used by the thread that opened it."""

    @property
    def now(self) -> float:
        """The store's clock when the transaction began; the same for all of it."""
        ...

    def get(self, task_id: str) -> Task | None:
        """The task as this transaction sees it."""
        ...

    def put(self, task: Task) -> None:
        """Insert or replace it, by id. An id keeps its place in the posting order."""
        ...

    def append(
        self, kind: str, *, task_id: str = "", agent_id: str = "", data: dict[str, object]
    ) -> None:
        """Add an event to the journal, at `now`."""
        ...

    def ready(self, match: Match, *, limit: int) -> list[Task]:
        """The first `limit` claimable tasks for such an agent, in claim order."""
        ...

    def expired(self, *, limit: int) -> list[Task]:
        """Up to `limit` tasks whose lease ran out, the longest ago first."""
        ...

    def dependents(self, task_id: str) -> list[Task]:
        """The tasks that wait for it."""
        ...

    def select(self, query: Query) -> list[Task]:
        """As `Store.select`, within this transaction."""
        ...


class Store(Protocol):
    """A board's memory. Thread-safe; the kinds other than `memory` are shared by processes."""

    @property
    def url(self) -> str:
        """What `open_store` takes to open the same board, in another process too."""
        ...

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Everything in it happens, durably, or (on an exception) nothing does.

        Raises:
            TransientError: the store was busy beyond its time-out, or its disk is full.
        """
        ...

    def get(self, task_id: str) -> Task | None:
        """The task as it stands."""
        ...

    def select(self, query: Query) -> list[Task]:
        """All tasks that pass, in posting order."""
        ...

    def counts(self, parent_id: str | None) -> dict[TaskStatus, int]:
        """How many tasks stand where: the children of a parent, or all with None."""
        ...

    def events(self, *, after: int, limit: int, task_id: str | None = None) -> list[Event]:
        """Events with a `seq` above `after`, oldest first; those of one task if it is given."""
        ...

    def wait(self, *, after: int, timeout_s: float) -> bool:
        """Sleep until there is an event above `after`; False if the time ran out first."""
        ...

    def close(self) -> None:
        """Let go of files and connections. Idempotent."""
        ...


def open_store(url: str | Path, *, clock: Clock | None = None) -> Store:
    """The store that a URL names.

    `memory:` lives in this process; `sqlite:///PATH` (also a path ending in `.db` or `.sqlite`)
    is one file; any other path, or `files:///PATH`, is a folder with a JSON file for each task.

    Raises:
        UsageError: no store has such a URL.
        UnsupportedError: the store needs an extra that is not installed.
    """
    import time

    text = str(url)
    if not text:
        raise UsageError("the board's URL is empty: take sqlite:///board.db, a path or memory:")
    clock = clock or time.time
    scheme, separator, rest = text.partition(":")
    match scheme if separator else "":
        case "memory":
            from stigmergy.board.stores.memory import MemoryStore

            return MemoryStore(clock=clock)
        case "sqlite":
            from stigmergy.board.stores.sqlite import SqliteStore

            return SqliteStore(_path(text, rest), clock=clock)
        case "files":
            from stigmergy.board.stores.files import FilesStore

            return FilesStore(_path(text, rest), clock=clock)
        case "postgres" | "postgresql":
            raise UnsupportedError("the postgres store is not part of this version; use sqlite:///")
        case _ if "://" in text:
            raise UsageError(
                f"no store for {text!r}: take sqlite:///board.db, files:///tasks, a path or memory:"
            )
        case _ if Path(text).suffix in {".db", ".sqlite", ".sqlite3"}:
            from stigmergy.board.stores.sqlite import SqliteStore

            return SqliteStore(Path(text), clock=clock)
        case _:
            from stigmergy.board.stores.files import FilesStore

            return FilesStore(Path(text), clock=clock)


def _path(url: str, rest: str) -> Path:
    # As SQLAlchemy has it: three slashes before a relative path, four before an absolute one.
    path = rest.removeprefix("///")
    if not path or not rest.startswith("///"):
        raise UsageError(f"{url!r} names no file: write three slashes before the path")
    return Path(path)
