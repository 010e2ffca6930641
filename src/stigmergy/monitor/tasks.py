"""The tasks of a board as its journal tells them: where each stands, and what waits for what.

All unfinished tasks are known, at about a kilobyte each, and the latest thousand that finished.
Of the unfinished ones `SHOWN` are shown: all that somebody holds, then the oldest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from stigmergy.board import Event, JsonObject, TaskStatus
from stigmergy.monitor.reading import amount, first_line, names, text

__all__ = ["APPROVAL", "FINISHED", "SHOWN", "TaskBook", "TaskRow", "key_of"]

SHOWN: Final = 5000
"""Unfinished tasks that are shown, at least while so many are not held."""
FINISHED: Final = 1000
"""Finished tasks that are remembered."""
APPROVAL: Final = "approval"
PERSON: Final = "person"
_HELD: Final = frozenset({TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS})
_FINAL: Final = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})
_TITLE: Final = 200
_ERROR: Final = 500


@dataclass(slots=True)
class TaskRow:
    """One task."""

    task_id: str
    task_type: str = ""
    title: str = ""
    parent_id: str | None = None
    depends_on: tuple[str, ...] = ()
    priority: int | None = None
    attempts: int = 0
    max_attempts: int | None = None
    status: TaskStatus = TaskStatus.PENDING
    claimed_by: str | None = None
    posted_at: float | None = None
    claimed_at: float | None = None
    finished_at: float | None = None
    error: str | None = None
    progress: JsonObject | None = None
    needs_person: bool = False
    unmet: set[str] = field(default_factory=set[str])
    """Those of `depends_on` that are known and not completed."""
    expirations: int = 0
    """Leases of it that ran out since it was posted or begun anew."""
    counted: TaskStatus | None = None
    """The status under which the book counts it."""
    counted_ready: str | None = None
    """The type under which the book counts it as ready."""

    @property
    def is_held(self) -> bool:
        """Somebody works on it."""
        return self.status in _HELD

    @property
    def is_final(self) -> bool:
        """It has come to an end."""
        return self.status in _FINAL

    @property
    def is_ready(self) -> bool:
        """Nothing but somebody to take it is missing, as far as the journal tells."""
        return self.status is TaskStatus.PENDING and not self.unmet

    @property
    def waits_for_person(self) -> bool:
        """A person can decide on it now."""
        return self.needs_person and self.is_ready

    @property
    def key(self) -> str:
        """The work item that it belongs to, in a coding run; else its own id."""
        return key_of(self.task_id)


def key_of(task_id: str) -> str:
    """`F07` of `F07.land` and `F07.fix2`."""
    for mark in (".land", ".fix"):
        head, found, _ = task_id.rpartition(mark)
        if found:
            return head
    return task_id


class TaskBook:
    """Folds what happens to tasks."""

    def __init__(self) -> None:
        self.rows: dict[str, TaskRow] = {}
        self.counts: Counter[TaskStatus] = Counter()
        """Tasks by status; those that finished are counted for ever, pruned or not."""
        self.ready: Counter[str] = Counter()
        """By type, tasks to which nothing but an agent is missing."""
        self.for_person: set[str] = set()
        """Tasks that a person can decide on now."""
        self.total = 0
        self.retries = 0
        """Attempts that ended without a result and were followed by another."""
        self.expirations = 0
        self.changed: set[str] = set()
        """Rows that changed since somebody emptied this."""
        self.dropped: set[str] = set()
        """Tasks that are not shown any more."""
        self.shown: dict[str, None] = {}
        """Unfinished tasks that are shown, in order of posting."""
        self.finished: dict[str, None] = {}
        """Finished tasks that are remembered, in order of finishing."""
        self.waiters: dict[str, set[str]] = {}
        """Under a task, the unfinished ones that name it as a dependency."""
        self.graph_changed = False
        """Something that a critical path depends on changed."""
        self._hidden: dict[str, None] = {}

    def take(self, event: Event) -> TaskRow | None:
        """Go on by one event; the row of its task, if it has one."""
        handler = _HANDLERS.get(event.kind)
        if handler is None or not event.task_id:
            return self.rows.get(event.task_id)
        row = self.rows.get(event.task_id) or self._enter(event.task_id)
        handler(self, row, event)
        if event.kind == "removed":
            return None
        self._settle(row)
        return row

    def visible(self) -> Generator[TaskRow]:
        """The tasks that are shown: unfinished ones, then finished ones."""
        for names_ in (self.shown, self.finished):
            for name in names_:
                yield self.rows[name]

    def is_visible(self, task_id: str) -> bool:
        """Whether the task is among those."""
        return task_id in self.shown or task_id in self.finished

    # For what events do ---------------------------------------------------------------------

    def describe(self, row: TaskRow, event: Event) -> None:
        """Note what the one who posted it said."""
        data = event.data
        row.task_type = text(event, "task_type") or row.task_type
        row.title = first_line(text(event, "title"), _TITLE) or row.title
        if "parent_id" in data:
            row.parent_id = None if data["parent_id"] is None else str(data["parent_id"])
        if (priority := amount(event, "priority")) is not None:
            row.priority = int(priority)
        if (most := amount(event, "max_attempts")) is not None:
            row.max_attempts = int(most)
        row.needs_person = row.task_type == APPROVAL or PERSON in names(event, "requires")
        if "depends_on" in data:
            self.depend(row, names(event, "depends_on"))

    def depend(self, row: TaskRow, needed: Iterable[str]) -> None:
        """Let it wait for those of them that are not completed."""
        row.depends_on = tuple(dict.fromkeys(needed))
        for name in row.depends_on:
            self.waiters.setdefault(name, set()).add(row.task_id)
        # One that is not known was completed long ago: it stood on the board.
        row.unmet = {name for name in row.depends_on if self._is_open(name)}

    def forget(self, row: TaskRow) -> None:
        """It is not on the board any more, and was not finished."""
        if row.counted is not None:
            self.counts[row.counted] -= 1
        self._count_ready(row, None)
        self._forget_waiting(row)
        for place in (self.shown, self._hidden, self.finished):
            place.pop(row.task_id, None)
        self.rows.pop(row.task_id, None)
        self.total -= 1
        self.dropped.add(row.task_id)
        self.changed.discard(row.task_id)
        self.graph_changed = True
        self._promote()

    # Bookkeeping ----------------------------------------------------------------------------

    def _is_open(self, name: str) -> bool:
        row = self.rows.get(name)
        return row is not None and row.status is not TaskStatus.COMPLETED

    def _enter(self, name: str) -> TaskRow:
        row = self.rows[name] = TaskRow(name)
        self.total += 1
        return row

    def _settle(self, row: TaskRow) -> None:
        """Bring counts, and what is shown, in line with a row that may have changed."""
        self.changed.add(row.task_id)
        if row.counted is not row.status:
            if row.counted is not None:
                self.counts[row.counted] -= 1
            self.counts[row.status] += 1
            self._move(row, was=row.counted)
            row.counted = row.status
        self._count_ready(row, row.task_type if row.is_ready else None)

    def _move(self, row: TaskRow, *, was: TaskStatus | None) -> None:
        name = row.task_id
        if row.is_final:
            self.shown.pop(name, None)
            self._hidden.pop(name, None)
            self.finished.pop(name, None)
            self.finished[name] = None
            self._forget_waiting(row)
            self._evict()
            self._promote()
        elif was is None or was in _FINAL:
            self.finished.pop(name, None)
            if len(self.shown) < SHOWN:
                self.shown[name] = None
            else:
                self._hidden[name] = None
                self.dropped.add(name)  # it may have been shown while it was finished
            self.depend(row, row.depends_on)
        elif row.is_held and name in self._hidden:
            del self._hidden[name]
            self.shown[name] = None
        if was in (None, TaskStatus.COMPLETED) or row.status is TaskStatus.COMPLETED:
            self._tell_waiters(row)
        if row.depends_on or name in self.waiters:
            self.graph_changed = True

    def _tell_waiters(self, row: TaskRow) -> None:
        """Of tasks posted together, one may come before what it depends on."""
        for name in self.waiters.get(row.task_id, ()):
            if waiter := self.rows.get(name):
                if row.status is TaskStatus.COMPLETED:
                    waiter.unmet.discard(row.task_id)
                else:
                    waiter.unmet.add(row.task_id)
                self.changed.add(name)
                self._count_ready(waiter, waiter.task_type if waiter.is_ready else None)

    def _count_ready(self, row: TaskRow, task_type: str | None) -> None:
        if row.waits_for_person and task_type is not None:
            self.for_person.add(row.task_id)
            task_type = None  # no agent will take it
        else:
            self.for_person.discard(row.task_id)
        if row.counted_ready == task_type:
            return
        if row.counted_ready is not None:
            self.ready[row.counted_ready] -= 1
        if task_type is not None:
            self.ready[task_type] += 1
        row.counted_ready = task_type

    def _forget_waiting(self, row: TaskRow) -> None:
        for name in row.depends_on:
            if waiting := self.waiters.get(name):
                waiting.discard(row.task_id)
                if not waiting:
                    del self.waiters[name]
        row.unmet = set()

    def _evict(self) -> None:
        while len(self.finished) > FINISHED:
            oldest = next(iter(self.finished))
            del self.finished[oldest]
            del self.rows[oldest]
            self.dropped.add(oldest)
            self.changed.discard(oldest)

    def _promote(self) -> None:
        while self._hidden and len(self.shown) < SHOWN:
            oldest = next(iter(self._hidden))
            del self._hidden[oldest]
            self.shown[oldest] = None
            self.changed.add(oldest)


def _posted(book: TaskBook, row: TaskRow, event: Event) -> None:
    row.posted_at = event.at
    book.describe(row, event)
    if text(event, "status") in _STATUSES:  # by hand, a file may say anything
        row.status = TaskStatus(text(event, "status"))


def _replaced(book: TaskBook, row: TaskRow, event: Event) -> None:
    book.describe(row, event)


def _edited(book: TaskBook, row: TaskRow, event: Event) -> None:
    book.describe(row, event)
    if text(event, "status") in _STATUSES:
        row.status = TaskStatus(text(event, "status"))
    row.attempts = int(amount(event, "attempt") or row.attempts)


def _prioritized(_: TaskBook, row: TaskRow, event: Event) -> None:
    row.priority = int(amount(event, "priority") or row.priority or 0) or None


def _claimed(_: TaskBook, row: TaskRow, event: Event) -> None:
    row.status = TaskStatus.CLAIMED
    row.claimed_by, row.claimed_at = event.agent_id, event.at
    row.attempts = int(amount(event, "attempt") or row.attempts + 1)
    row.finished_at = row.progress = None


def _started(_: TaskBook, row: TaskRow, _event: Event) -> None:
    if row.status is TaskStatus.CLAIMED:
        row.status = TaskStatus.IN_PROGRESS


def _reported(_: TaskBook, row: TaskRow, event: Event) -> None:
    row.progress = event.data


def _ended(book: TaskBook, row: TaskRow, event: Event) -> None:
    """Of `completed`, `failed`, `expired` and `cancelled`."""
    status = text(event, "status")
    row.status = TaskStatus(status) if status in _STATUSES else _USUAL[event.kind]
    row.attempts = int(amount(event, "attempt") or row.attempts)
    row.error = text(event, "error")[:_ERROR] or None
    if event.kind == "expired":
        row.expirations += 1
        book.expirations += 1
    if row.is_final:
        row.finished_at = event.at
        row.claimed_by = event.agent_id or row.claimed_by
    else:
        row.claimed_by = row.claimed_at = None
        book.retries += 1


def _released(book: TaskBook, row: TaskRow, event: Event) -> None:
    row.status = TaskStatus.PENDING
    row.claimed_by = row.claimed_at = None
    row.attempts = max(0, row.attempts - 1)
    if waits := names(event, "wait_for"):
        book.depend(row, (*row.depends_on, *waits))


def _retried(book: TaskBook, row: TaskRow, event: Event) -> None:
    book.describe(row, event)
    if row.counted is None and (was := text(event, "was")) in _STATUSES:
        row.counted = TaskStatus(was)  # it finished so long ago that its row was forgotten
        book.total -= 1
    row.status = TaskStatus.PENDING
    row.claimed_by = row.claimed_at = row.finished_at = row.error = row.progress = None
    row.attempts = row.expirations = 0


def _removed(book: TaskBook, row: TaskRow, _event: Event) -> None:
    book.forget(row)


_STATUSES: Final = frozenset(status.value for status in TaskStatus)
_USUAL: Final = {
    "completed": TaskStatus.COMPLETED,
    "failed": TaskStatus.FAILED,
    "expired": TaskStatus.PENDING,
    "cancelled": TaskStatus.CANCELLED,
}
_HANDLERS: Final[Mapping[str, Callable[[TaskBook, TaskRow, Event], None]]] = {
    "posted": _posted,
    "replaced": _replaced,
    "edited": _edited,
    "prioritized": _prioritized,
    "claimed": _claimed,
    "started": _started,
    "reported": _reported,
    "completed": _ended,
    "failed": _ended,
    "expired": _ended,
    "cancelled": _ended,
    "released": _released,
    "retried": _retried,
    "removed": _removed,
}
