"""A transaction on a folder board, which looks at the files of the tasks it is asked for."""

from __future__ import annotations

from collections.abc import Iterable

from stigmergy.board.store import Match
from stigmergy.board.stores.byhand import absorb
from stigmergy.board.stores.index import TaskIndex
from stigmergy.board.stores.journal import Record
from stigmergy.board.stores.memory import MemoryTransaction
from stigmergy.board.stores.taskfiles import Finding, TaskFiles
from stigmergy.board.task import Task

__all__ = ["FilesTransaction"]


class FilesTransaction(MemoryTransaction):
    """A `Transaction` and a `FolderTransaction`: on the index, hand edits taken in as they show."""

    def __init__(
        self, index: TaskIndex, files: TaskFiles, *, now: float, but: Iterable[str]
    ) -> None:
        super().__init__(index, now=now)
        self._files = files
        self._seen = set(but)
        """Tasks whose files were looked at, or are known to be behind."""
        self.removed: dict[str, None] = {}
        self.aside: list[str] = []
        self.rewrites: dict[str, None] = {}

    def get(self, task_id: str) -> Task | None:
        """See `Transaction.get`."""
        self._look([task_id])
        return super().get(task_id)

    def put(self, task: Task) -> None:
        """See `Transaction.put`."""
        self._seen.add(task.task_id)
        self.removed.pop(task.task_id, None)
        super().put(task)

    def ready(self, match: Match, *, limit: int) -> list[Task]:
        """See `Transaction.ready`."""
        while True:
            found = super().ready(match, limit=limit)
            if not self._look(task.task_id for task in found):
                return found

    def expired(self, *, limit: int) -> list[Task]:
        """See `Transaction.expired`."""
        self._look(task.task_id for task in self._index.leased())
        return super().expired(limit=limit)

    def remove(self, task_id: str) -> None:
        """See `FolderTransaction.remove`."""
        self._seen.add(task_id)
        self.forget(task_id)
        self.removed[task_id] = None

    def set_aside(self, name: str) -> None:
        """See `FolderTransaction.set_aside`."""
        self._seen.add(name)
        self.aside.append(f"{name}.json")
        self.rewrites[name] = None

    def rewrite(self, task_id: str) -> None:
        """See `FolderTransaction.rewrite`."""
        self._seen.add(task_id)
        self.rewrites[task_id] = None

    @property
    def has_effects(self) -> bool:
        """There is something to be journaled or written."""
        return bool(self._before or self.events or self.aside or self.rewrites)

    def record(self, seq: int) -> Record:
        """What it did, for the journal. Tasks to be written anew are in it, for whoever redoes."""
        anew = (self._index.get(name) for name in self.rewrites if name not in self._before)
        return Record(
            seq=seq,
            at=self._now,
            tasks=(*self.written, *(task for task in anew if task is not None)),
            removed=tuple(self.removed),
            aside=tuple(self.aside),
            events=tuple(self.events),
        )

    def take_in(self, findings: list[Finding]) -> None:
        """Take in hand edits, each once."""
        self._seen.update(finding.name for finding in findings)
        absorb(self, findings)

    def _look(self, names: Iterable[str]) -> bool:
        """Look at the files of these tasks; whether there was anything to take in."""
        unseen = [name for name in names if name not in self._seen]
        self._seen.update(unseen)
        looked = [self._files.look(name, self._index.get(name)) for name in unseen]
        findings = [finding for finding in looked if finding is not None]
        absorb(self, findings)
        return bool(findings)
