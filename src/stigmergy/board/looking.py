"""The reading half of the board: tasks, progress, the journal. It writes nothing."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import Final, Self

from stigmergy.board.blobs import BlobFolder, is_reference
from stigmergy.board.figures import Figures, measure
from stigmergy.board.intake import check_names
from stigmergy.board.rules import Rules
from stigmergy.board.store import Query, Store
from stigmergy.board.task import Event, JsonObject, Task, TaskStatus
from stigmergy.errors import UnsupportedError, UsageError

__all__ = ["BoardView", "Progress", "names_of"]

_LEASED: Final = frozenset({TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS})


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a set of tasks has come."""

    total: int
    pending: int
    in_progress: int
    completed: int
    failed: int
    cancelled: int

    @property
    def is_complete(self) -> bool:
        """Nothing is left to do: every task is completed, failed or cancelled."""
        return self.completed + self.failed + self.cancelled == self.total

    @property
    def progress_pct(self) -> float:
        """Completed tasks of all, 0.0 to 100.0; 100.0 of none."""
        return 100.0 if self.total == 0 else 100.0 * self.completed / self.total


class BoardView:
    """A board to look at. Thread-safe.

    Args:
        store: the open store.
        blobs: the folder of large payloads and results, if there is one.
    """

    def __init__(self, store: Store, blobs: BlobFolder | None) -> None:
        self._store = store
        self._blobs = blobs

    @property
    def url(self) -> str:
        """What opens the same board in another process."""
        return self._store.url

    def close(self) -> None:
        """Let go of the store. Idempotent."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, task_id: str) -> Task | None:
        """The task as it stands, or None."""
        return self._store.get(task_id)

    def get_pending(self) -> list[Task]:
        """The tasks that nobody holds and that are not finished, in posting order."""
        return self.list_all(statuses=[TaskStatus.PENDING])

    def get_by_type(self, task_type: str) -> list[Task]:
        """All tasks of a type, in posting order."""
        return self.list_all(task_types=[task_type])

    def list_all(
        self,
        *,
        statuses: Iterable[TaskStatus] | None = None,
        task_types: Iterable[str] | None = None,
        parent_id: str | None = None,
        claimed_by: str | None = None,
        after: str | None = None,
        limit: int | None = None,
    ) -> list[Task]:
        """Tasks that pass all the given filters, in posting order; the first `limit` of them.

        With `after`, only those posted after that task; none if it is not on the board.
        """
        if limit is not None and limit < 0:
            raise UsageError(f"limit is {limit}: how many tasks to list cannot be negative")
        return self._store.select(
            Query(
                statuses=None if statuses is None else frozenset(statuses),
                task_types=names_of(task_types, what="task_types"),
                parent_id=parent_id,
                claimed_by=claimed_by,
                after=after,
                limit=limit,
            )
        )

    def get_results_by_parent(self, parent_id: str) -> list[JsonObject]:
        """The results of a parent's completed children, in posting order."""
        done = self.list_all(statuses=[TaskStatus.COMPLETED], parent_id=parent_id)
        return [self.load(task.result) for task in done]

    def progress(self, parent_id: str | None = None) -> Progress:
        """How far a parent's children have come, or the whole board."""
        counts = self._store.counts(parent_id)
        return Progress(
            total=sum(counts.values()),
            pending=counts.get(TaskStatus.PENDING, 0),
            in_progress=sum(counts.get(status, 0) for status in _LEASED),
            completed=counts.get(TaskStatus.COMPLETED, 0),
            failed=counts.get(TaskStatus.FAILED, 0),
            cancelled=counts.get(TaskStatus.CANCELLED, 0),
        )

    def figures(self, *, now: float) -> Figures:
        """The board in figures, as it stands at `now`."""
        return measure(self._store, now=now)

    def events(
        self, *, after: int = 0, limit: int = 1000, task_id: str | None = None
    ) -> list[Event]:
        """The journal from just after `after`, oldest first; of one task if it is named."""
        return self._store.events(after=after, limit=limit, task_id=task_id)

    def history(self, task_id: str) -> list[Event]:
        """What happened to one task, oldest first."""
        return self._store.events(after=0, limit=2**31, task_id=task_id)

    def last_seq(self) -> int:
        """The `seq` of the journal's latest event; 0 before the first."""
        return self._store.last_seq()

    def wait(self, *, after: int, timeout_s: float) -> bool:
        """Sleep until the journal goes beyond `after`; False if the time ran out first."""
        return self._store.wait(after=after, timeout_s=timeout_s)

    def watch(
        self, *, after: int = 0, stop: threading.Event, idle_s: float = 0.25
    ) -> Generator[Event]:
        """Events as they happen, until `stop` is set (noticed within `idle_s`)."""
        while not stop.is_set():
            batch = self._store.events(after=after, limit=1000)
            for event in batch:
                yield event
                after = event.seq
            if not batch:
                self._store.wait(after=after, timeout_s=idle_s)

    def rules(self) -> Rules:
        """What the board was told: pauses, limits, schedules, retention."""
        with self._store.transaction() as tx:
            return Rules.of(tx.rules())

    def load(self, value: JsonObject | None) -> JsonObject:
        """A payload or result, read from its file if it was too large for the board.

        Raises:
            CorruptError: the file is gone or damaged.
            UnsupportedError: this board has no folder for such files.
        """
        if value is None or not is_reference(value):
            return value or {}
        if self._blobs is None:
            raise UnsupportedError(
                "the value is in a file, and this board has no folder for files: name it with "
                "?blobs=FOLDER in the board's URL"
            )
        return self._blobs.get(value)


def names_of(names: Iterable[str] | None, *, what: str) -> frozenset[str] | None:
    """The names as a set; None stays None."""
    return None if names is None else frozenset(check_names(names, what=what))
