"""A transaction on a folder board, which looks at the files of the tasks it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from stigmergy.board.store import Match, Rule
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
        self,
        index: TaskIndex,
        rules: dict[str, Rule],
        files: TaskFiles,
        *,
        now: float,
        but: Iterable[str],
        has_events: bool,
        count_events: Callable[[float], int],
    ) -> None:
        super().__init__(index, rules, now=now, has_events=has_events, count_events=count_events)
        self._files = files
        self._seen = set(but)
        """Tasks whose files were looked at, or are known to be behind."""
        self.removed: dict[str, None] = {}
        self.aside: list[str] = []
        self.rewrites: dict[str, None] = {}
        self.deletions: dict[str, None] = {}
        """Tasks whose files are to be removed with them."""

    def get(self, task_id: str) -> Task | None:
        """See `Transaction.get`."""
        self._look([task_id])
        return super().get(task_id)

    def put(self, task: Task) -> None:
        """See `Transaction.put`."""
        self._seen.add(task.task_id)
        self.deletions.pop(task.task_id, None)
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
        super().forget(task_id)
        self.removed[task_id] = None

    def forget(self, task_id: str) -> None:
        """See `Transaction.forget`. Its file goes too."""
        if self._index.get(task_id) is not None:
            self.remove(task_id)
            self.deletions[task_id] = None

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
        return bool(
            self._before
            or self.events
            or self.restored
            or self.rules_changed
            or self.aside
            or self.rewrites
        )

    def record(self, seq: int) -> Record:
        """What it did, for the journal. Tasks to be written anew are in it, for whoever redoes."""
        anew = (self._index.get(name) for name in self.rewrites if name not in self._before)
        if self.restored:
            seq = max(seq, self.restored[-1].seq + 1)
        return Record(
            seq=seq,
            at=self._now,
            tasks=(*self.written, *(task for task in anew if task is not None)),
            removed=tuple(self.removed),
            deleted=tuple(self.deletions),
            aside=tuple(self.aside),
            events=tuple(self.events),
            history=tuple(self.restored),
            rules=self.changed_rules() if self.rules_changed else (),
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
