"""The Store seam: a transactional table of tasks and a journal of events.

A store decides nothing. `TaskBoard` reads, applies the pure lifecycle and writes inside one
exclusive transaction; a store makes that transaction atomic, durable and visible to every other
process on the same board, and answers the few questions that need an index.

What agents do all day may have a short cut (`Shortcuts`): the same verbs done within the store,
in fewer steps. A short cut that meets anything out of the ordinary declines, and the plain path
is taken; the contract compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stigmergy.board.census import Census
from stigmergy.board.task import Event, JsonObject, Lease, Task, TaskStatus
from stigmergy.errors import UsageError

__all__ = [
    "Clock",
    "Exchange",
    "Exchanged",
    "Extension",
    "KnownClock",
    "Match",
    "Query",
    "Rule",
    "Shortcuts",
    "Store",
    "Transaction",
    "open_store",
]

Clock = Callable[[], float]
"""Seconds since the epoch."""

Bar = tuple[str | None, str | None]
"""A task type, a limit key, or a key within a type; None stands for any, two for all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Which tasks an agent may take."""

    capabilities: frozenset[str] = frozenset()
    """A task is taken only if all that it requires is among them."""
    task_types: frozenset[str] | None = None
    """None takes any type."""
    barred: frozenset[Bar] = frozenset()
    """What is paused or has reached a limit."""

    def accepts(
        self, task_type: str, requires: Collection[str], limit_key: str | None = None
    ) -> bool:
        """Whether such an agent may take a task of that type, requirements and limit key."""
        return (
            (self.task_types is None or task_type in self.task_types)
            and self.capabilities.issuperset(requires)
            and not (self.barred and self._bars(task_type, limit_key))
        )

    def _bars(self, task_type: str, limit_key: str | None) -> bool:
        if (task_type, None) in self.barred or (None, None) in self.barred:
            return True
        return limit_key is not None and (
            (None, limit_key) in self.barred or (task_type, limit_key) in self.barred
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A filter over tasks; what is None does not filter. Results come in posting order."""

    statuses: frozenset[TaskStatus] | None = None
    task_types: frozenset[str] | None = None
    parent_id: str | None = None
    claimed_by: str | None = None
    finished_before: float | None = None
    after: str | None = None
    """Only those posted after this task; none if it is not on the board."""
    limit: int | None = None
    """The first so many of those that pass."""

    def accepts(self, task: Task) -> bool:
        """Whether the task passes, `after` and `limit` aside."""
        return (
            (self.statuses is None or task.status in self.statuses)
            and (self.task_types is None or task.task_type in self.task_types)
            and (self.parent_id is None or task.parent_id == self.parent_id)
            and (self.claimed_by is None or task.claimed_by == self.claimed_by)
            and (
                self.finished_before is None
                or (task.finished_at is not None and task.finished_at < self.finished_before)
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Something that the board as a whole is told: a pause, a limit, a schedule.

    The store keeps it and knows of it only what lets a claim pass it by.
    """

    name: str
    body: JsonObject = field(default_factory=dict[str, object])
    gates: bool = False
    """Every claim has to look at it."""
    due_at: float | None = None
    """A claim has to look at it from then on."""


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

    def forget(self, task_id: str) -> None:
        """Take a task off the board. Unknown ids are ignored."""
        ...

    def append(self, kind: str, *, task_id: str = "", agent_id: str = "", data: JsonObject) -> None:
        """Add an event to the journal, at `now`."""
        ...

    def restore(self, events: Sequence[Event]) -> None:
        """Put events of another board into the journal, with their `seq` and time.

        Raises:
            UsageError: they do not grow, or the journal has events of its own.
        """
        ...

    def forget_events(self, *, before: float) -> int:
        """Drop events older than that time, as far as the store can; how many.

        The latest one always stays.
        """
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

    def holder(self, unique_key: str) -> Task | None:
        """The unfinished task that has this key."""
        ...

    def tail(self, parent_id: str, priority: int) -> float | None:
        """The highest rank among a parent's pending tasks of that priority."""
        ...

    def select(self, query: Query) -> list[Task]:
        """As `Store.select`, within this transaction."""
        ...

    def rules(self) -> list[Rule]:
        """All rules of the board, by name."""
        ...

    def put_rule(self, rule: Rule) -> None:
        """Insert or replace a rule, by name."""
        ...

    def forget_rule(self, name: str) -> None:
        """Drop a rule. Unknown names are ignored."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Results handed in and tasks asked for, in one transaction."""

    agent_id: str
    results: Sequence[tuple[Lease, JsonObject, JsonObject | None]] = ()
    """Leases, their results, and notes for the journal."""
    match: Match = Match()
    limit: int = 0
    lease_s: float
    tells_completed: bool = True
    """Whether the completed tasks are asked for, or only the claimed ones."""
    clock: KnownClock | None = None
    """What has to know the time for a short cut to claim; None where nobody watches the clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanged:
    """What came of an exchange."""

    completed: list[Task]
    """In the order of the results; may be empty if they were not asked for."""
    claimed: list[Task]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """What is said of a task that is held, before its end."""

    lease: Lease
    lease_s: float | None = None
    """Renew the lease, by so much from now."""
    start: bool = False
    """Work has begun."""
    progress: JsonObject | None = None
    """How far the work is."""
    clock: KnownClock | None = None
    """What has to know the time for a short cut to renew, as in `Exchange`."""


class KnownClock(Protocol):
    """Whether the clock is as the board knows it, or was set."""

    @property
    def rule_name(self) -> str:
        """The rule by which the board's processes tell each other."""
        ...

    def knows(self, now: float, *, told: str | None) -> bool:
        """Whether `now` is a time by the clock that the rule, whose body is `told`, speaks of."""
        ...


class Shortcuts(Protocol):
    """Verbs that a store does by itself, to the same effect as the plain path.

    Each returns None, with nothing written, when there is anything that it does not know: then
    the plain path decides, errors included.
    """

    def exchange(self, order: Exchange) -> Exchanged | None:
        """Complete and claim."""
        ...

    def extend(self, order: Extension) -> Task | None:
        """Renew, start, report: what is asked for; the task as it then is."""
        ...

    def post(self, tasks: Sequence[Task]) -> list[Task] | None:
        """Post checked tasks that wait for nothing; those that were new."""
        ...


class Store(Protocol):
    """A board's memory. Thread-safe; the kinds other than `memory` are shared by processes."""

    @property
    def url(self) -> str:
        """What `open_store` takes to open the same board, in another process too.

        It has no password in it.
        """
        ...

    @property
    def is_local(self) -> bool:
        """Its clock is that of this machine, which its processes share."""
        ...

    @property
    def blobs(self) -> Path | None:
        """The folder for payloads and results too large for a row; None where there is none."""
        ...

    @property
    def shortcuts(self) -> Shortcuts | None:
        """The store's own way for frequent verbs, if it has one."""
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

    def census(self, *, now: float) -> Census:
        """What stands on the board, as `census_of` all tasks tells it; no task is read for it."""
        ...

    def tally(self, *, after: int, since: float) -> dict[str, int]:
        """As `tally_of` the events with a `seq` above `after`, of those from `since` on."""
        ...

    def events(self, *, after: int, limit: int, task_id: str | None = None) -> list[Event]:
        """Events with a `seq` above `after`, oldest first; those of one task if it is given."""
        ...

    def last_seq(self) -> int:
        """The `seq` of the latest event that `events` gives; 0 before the first."""
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
    is one file; `postgresql://…` is a PostgreSQL database; any other path, or `files:///PATH`, is
    a folder with a JSON file for each task.

    Raises:
        UsageError: no store has such a URL.
        UnsupportedError: the store needs an extra that is not installed.
    """
    import time

    text = str(url)
    if not text:
        raise UsageError("the board's URL is empty: take sqlite:///board.db, a path or memory:")
    chosen = clock or time.time
    scheme, separator, rest = text.partition(":")
    match scheme if separator else "":
        case "memory":
            from stigmergy.board.stores.memory import MemoryStore

            return MemoryStore(clock=chosen)
        case "sqlite":
            from stigmergy.board.stores.sqlite import SqliteStore

            return SqliteStore(_path(text, rest), clock=chosen)
        case "files":
            from stigmergy.board.stores.files import FilesStore

            return FilesStore(_path(text, rest), clock=chosen)
        case "postgres" | "postgresql":
            from stigmergy.board.stores.postgres import PostgresStore

            # Its leases are on the server's clock; another one is for tests.
            return PostgresStore(text, clock=clock)
        case "http" | "https":
            raise UsageError(
                f"{text!r} is the address of a server, and this needs the board itself: `stig "
                "watch --board` and `stig agent run --board` take one, and a browser opens it"
            )
        case _ if "://" in text:
            raise UsageError(
                f"no store for {text!r}: take sqlite:///board.db, postgresql://host/database, "
                "files:///tasks, a path or memory:"
            )
        case _ if Path(text).suffix in {".db", ".sqlite", ".sqlite3"}:
            from stigmergy.board.stores.sqlite import SqliteStore

            return SqliteStore(Path(text), clock=chosen)
        case _:
            from stigmergy.board.stores.files import FilesStore

            return FilesStore(Path(text), clock=chosen)


def _path(url: str, rest: str) -> Path:
    # As SQLAlchemy has it: three slashes before a relative path, four before an absolute one.
    path = rest.removeprefix("///")
    if not path or not rest.startswith("///"):
        raise UsageError(f"{url!r} names no file: write three slashes before the path")
    return Path(path)
