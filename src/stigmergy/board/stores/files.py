"""A board in a folder: a readable `<task_id>.json` for each task, which may be edited by hand.

One host, a modest rate. Every transaction is one synced line of `.board/journal.jsonl` and then a
rewrite of the task files it touched; each process keeps the tasks in memory and brings them up to
date from the journal. A file that differs from the journal was edited by hand, and wins
(`byhand`): it is noticed when the task is asked for or about to be claimed, when tasks are listed
or counted, and at the latest a second later. After a restart of the machine the journal wins,
because the files are not synced; what differs is set aside in `.board/quarantine`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from stigmergy.board.census import Census, tally_of
from stigmergy.board.folders import make_folder
from stigmergy.board.store import Clock, Query, Rule
from stigmergy.board.stores.filestransaction import FilesTransaction
from stigmergy.board.stores.index import TaskIndex
from stigmergy.board.stores.journal import Journal, Reading, Record
from stigmergy.board.stores.locking import BoardLock
from stigmergy.board.stores.memory import detached
from stigmergy.board.stores.progress import Progress, ProgressFile, boot_id
from stigmergy.board.stores.taskfiles import Edited, Finding, TaskFiles
from stigmergy.board.stores.watching import FileWatch
from stigmergy.board.task import Event, Task, TaskStatus, check_fields
from stigmergy.errors import CorruptError, TransientError, UsageError

__all__ = ["FilesStore"]

_log = logging.getLogger(__name__)

_BUSY_S: Final = 60.0
_SWEEP_EVERY_S: Final = 1.0
_JOURNAL_BYTES: Final = 8 * 1024**2
"""The journal begins anew when it is larger than this and than four of its snapshots."""


class FilesStore:
    """A `Store` on one folder. Safe to share by threads and processes; not by a fork."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._folder = path.absolute()
        self._home = self._folder / ".board"
        self._clock = clock
        self._watch = FileWatch(self._home, names=frozenset({"progress"}))
        self._mutex = threading.RLock()
        self._pid = os.getpid()
        self._boot = boot_id()
        self._index = TaskIndex()
        self._rules: dict[str, Rule] = {}
        self._files = TaskFiles(self._folder)
        self._journal = Journal(self._home)
        self._unwritten: dict[str, None] = {}
        """Tasks whose files are behind the journal: a process died, or the disk is full."""
        self._asides: dict[str, int] = {}
        """Files to be moved to quarantine, with the seq that names them there."""
        self._snapshot_bytes = 0
        self._closed = False
        self._is_in_session = False
        try:
            make_folder(self._home)
            self._note = ProgressFile(self._home / "progress")
        except OSError as error:
            raise UsageError(
                f"cannot open a board in the folder {self._folder}: {error}"
            ) from error
        self._lock = BoardLock(self._home / "lock")
        self._progress = self._note.read()
        try:
            with self._session(timeout_s=_BUSY_S):
                pass
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """`files:///` and the absolute path."""
        return f"files:///{self._folder}"

    @property
    def is_local(self) -> bool:
        """See `Store.is_local`."""
        return True

    @property
    def blobs(self) -> Path:
        """`.board/blobs`."""
        return self._home / "blobs"

    @property
    def shortcuts(self) -> None:
        """It has none."""
        return

    @contextmanager
    def transaction(self) -> Generator[FilesTransaction]:
        """See `Store.transaction`."""
        with self._session() as tx:
            yield tx

    def get(self, task_id: str) -> Task | None:
        """See `Store.get`."""
        with self._session() as tx:
            return tx.get(task_id)

    def select(self, query: Query) -> list[Task]:
        """See `Store.select`."""
        with self._session(sweep=True) as tx:
            return [detached(task) for task in tx.select(query)]

    def counts(self, parent_id: str | None) -> dict[TaskStatus, int]:
        """See `Store.counts`."""
        with self._session(sweep=True):
            return self._index.counts(parent_id)

    def census(self, *, now: float) -> Census:
        """See `Store.census`."""
        with self._session(sweep=True):
            return self._index.census(now)

    def tally(self, *, after: int, since: float) -> dict[str, int]:
        """See `Store.tally`."""
        later = self.events(after=after, limit=2**31)
        return tally_of(event for event in later if event.at >= since)

    def events(self, *, after: int, limit: int, task_id: str | None = None) -> list[Event]:
        """See `Store.events`."""
        with self._session():
            return self._journal.events(after=after, limit=limit, task_id=task_id)

    def last_seq(self) -> int:
        """See `Store.last_seq`."""
        with self._session():
            return self._journal.next_seq - 1

    def wait(self, *, after: int, timeout_s: float) -> bool:
        """See `Store.wait`. Woken by inotify on the progress file, which ends a transaction."""

        def ready() -> bool:
            self._check_usable()
            progress = self._note.read()
            return progress is not None and progress.last_seq > after

        return self._watch.wait(timeout_s=timeout_s, ready=ready)

    def close(self) -> None:
        """See `Store.close`."""
        if os.getpid() != self._pid:
            return
        with self._mutex:
            if not self._closed:
                self._tidy_journal()
            self._closed = True
            self._watch.close()
            self._journal.close()
            self._note.close()

    def _tidy_journal(self) -> None:
        """Leave plain lines to whoever looks at a board at rest; not worth waiting for anybody."""
        with suppress(OSError, TransientError), self._lock.held_if_free() as is_held:
            if is_held:
                self._journal.trim()

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise UsageError("a board cannot be carried over a fork; open it in the new process")
        if self._closed:
            raise UsageError(f"this board is closed; open it again ({self._folder})")

    # A transaction ---------------------------------------------------------------------------

    @contextmanager
    def _session(
        self, *, sweep: bool = False, timeout_s: float | None = None
    ) -> Generator[FilesTransaction]:
        self._check_usable()
        with self._mutex, self._alone(timeout_s):
            self._check_usable()
            try:
                self._catch_up()
                swept = self._sweep_if_due(forced=sweep)
            except OSError as error:
                raise self._transient(error) from error
            tx = self._begin()
            try:
                yield tx
            except BaseException:
                self._undo(tx)
                raise
            self._commit(tx, swept=swept)

    @contextmanager
    def _alone(self, timeout_s: float | None) -> Generator[None]:
        if self._is_in_session:  # of this thread, or the mutex would not be ours
            raise UsageError("this thread has a transaction open on the board already")
        with self._lock.held(timeout_s=timeout_s):
            self._is_in_session = True
            try:
                yield
            finally:
                self._is_in_session = False

    def _begin(self) -> FilesTransaction:
        return FilesTransaction(
            self._index,
            self._rules,
            self._files,
            now=self._clock(),
            but=self._unwritten,
            has_events=self._journal.next_seq > 1,
            count_events=lambda before: self._journal.count_events(before=before),
        )

    def _undo(self, tx: FilesTransaction) -> None:
        tx.undo()

    def _commit(self, tx: FilesTransaction, *, swept: bool = False) -> None:
        """Journal what a transaction did, then bring the files in line."""
        if tx.has_effects:
            try:
                record = tx.record(self._journal.next_seq)
                for task in record.tasks:  # a journal that cannot be read back would be the end
                    check_fields(task, like=tx.before(task.task_id), where="put")
                self._journal.append(record)
            except OSError as error:
                self._undo(tx)
                raise self._transient(error) from error
            except CorruptError as error:
                self._undo(tx)
                raise UsageError(str(error)) from None
            except BaseException:
                self._undo(tx)
                raise
            self._mark_unwritten(record)
            for name in tx.rewrites:
                if name in self._index:  # else a file was set aside, and no task stands for it
                    self._unwritten[name] = None
        if tx.has_effects or swept:
            self._bring_files_in_line(swept=swept)
        if tx.events_forgotten_before is not None:
            self._forget_events(tx.events_forgotten_before)

    def _forget_events(self, before: float) -> None:
        try:
            self._begin_anew()  # which moves all events to the archive
            self._journal.forget_events(before=before)
        except OSError as error:
            _log.warning("old events of %s could not be dropped: %s", self._folder, error)
        self._note_progress(swept=False)

    def _transient(self, error: OSError) -> TransientError:
        return TransientError(
            f"the board {self._folder} could not be used: {error}. Nothing was written; "
            "free some space if the disk is full, and try again"
        )

    # The files, behind the journal -------------------------------------------------------------

    def _mark_unwritten(self, record: Record) -> None:
        for task in record.tasks:
            self._unwritten[task.task_id] = None
        for name in record.deleted:
            self._unwritten[name] = None
        for name in record.aside:
            self._asides[name] = record.seq

    def _bring_files_in_line(self, *, swept: bool = False) -> None:
        """Write the files that are behind. What fails is tried again; the journal has it all."""
        try:
            for name, seq in list(self._asides.items()):
                self._files.set_aside(name, self._home / "quarantine" / f"{name}.{seq}")
                del self._asides[name]
            for name in list(self._unwritten):
                if (task := self._index.get(name)) is not None:
                    self._files.write(task)
                else:
                    self._files.delete(name)
                del self._unwritten[name]
            self._begin_anew_if_due()
        except OSError as error:
            _log.warning("task files in %s are behind the journal: %s", self._folder, error)
        self._note_progress(swept=swept)

    def _note_progress(self, *, swept: bool) -> None:
        is_behind = bool(self._unwritten or self._asides)
        before = self._progress
        self._progress = Progress(
            generation=self._journal.generation,
            applied=before.applied if is_behind and before else self._journal.end,
            last_seq=self._journal.next_seq - 1,
            boot=self._boot,
            folder_mtime_ns=self._folder.stat().st_mtime_ns,
            swept_at=time.monotonic() if swept or before is None else before.swept_at,
        )
        with suppress(OSError):  # the next process redoes what is written already
            self._note.write(self._progress)

    def _begin_anew_if_due(self) -> None:
        if self._journal.end > max(_JOURNAL_BYTES, 4 * self._snapshot_bytes):
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._journal.begin_anew(
            self._index.tasks().values(), self._rules.values(), at=self._clock()
        )
        self._snapshot_bytes = self._journal.end

    # What others did ---------------------------------------------------------------------------

    def _catch_up(self) -> None:
        """Take in what other processes wrote, and finish what a dead one began."""
        self._progress = self._note.read()
        if not self._journal.is_current():
            self._load()
            return
        reading = self._journal.read_new()
        if reading.damaged or self._is_damage(reading):
            self._load()
            return
        self._replay(reading)
        if self._unwritten or self._asides:
            self._bring_files_in_line()

    def _replay(self, reading: Reading) -> None:
        if reading.torn_at is not None:
            self._journal.cut()
        note = self._progress
        is_noted = note is not None and note.generation == self._journal.generation
        # Without a note nothing is redone blindly: `_believe_journal` compares.
        applied = note.applied if note is not None and is_noted else self._journal.end
        for end, record in reading.records:
            for task in record.tasks:
                self._index.put(task)
            for name in record.removed:
                self._index.remove(name)
            for name, rule in record.rules:
                if rule is None:
                    self._rules.pop(name, None)
                else:
                    self._rules[name] = rule
            if end > applied:
                self._mark_unwritten(record)

    def _is_damage(self, reading: Reading) -> bool:
        """Whether a promised line is unreadable; one that was never finished is merely torn."""
        note = self._progress
        return bool(reading.damaged) or (
            note is not None
            and note.generation == self._journal.generation
            and self._journal.end < note.applied
        )

    def _load(self) -> None:
        """Read the board from its beginning."""
        self._index = TaskIndex()
        self._rules = {}
        self._unwritten, self._asides = {}, {}
        reading = self._journal.reopen()
        is_new = self._journal.generation == 0
        if self._is_damage(reading) or (is_new and self._progress is not None):
            self._salvage(reading)
            return
        if is_new:
            self._begin_anew()
            self._note_progress(swept=False)
            return
        self._replay(reading)
        note = self._progress
        if note is None or (note.generation, note.boot) != (self._journal.generation, self._boot):
            self._believe_journal()
        if self._unwritten or self._asides:
            self._bring_files_in_line()

    def _salvage(self, reading: Reading) -> None:
        """Lines of the journal are lost: the files, its mirror, say what they said of tasks."""
        self._replay(replace(reading, torn_at=None))
        self._unwritten, self._asides = {}, {}
        self._journal.keep_damaged(self._home / "quarantine")
        if self._progress is not None:
            self._journal.next_seq = max(self._journal.next_seq, self._progress.last_seq + 1)
        _log.error("the journal of the board %s is damaged; going on from its files", self._folder)
        self._begin_anew()
        tx = self._begin()
        tx.append("damaged", data={"lines": len(reading.damaged), "kept_in": ".board/quarantine"})
        tx.take_in([_settled(f) for f in self._files.sweep(self._index.tasks(), but=())])
        self._commit(tx, swept=True)

    def _believe_journal(self) -> None:
        """The files may be older than the journal: set aside what differs, and write them anew."""
        tx = self._begin()
        known = self._index.tasks()
        for finding in self._files.sweep(known, but=self._unwritten):
            if (name := finding.name) not in known:
                continue  # dropped in meanwhile: the next sweep takes it
            tx.rewrite(name)
            if isinstance(finding, Edited):
                tx.set_aside(name)
                reason = "the machine was restarted since, so the journal is believed"
                data: dict[str, object] = {"file": f"{name}.json", "reason": reason}
                tx.append("quarantined", task_id=name, data=data | {"restored": True})
        self._commit(tx)

    def _sweep_if_due(self, *, forced: bool) -> bool:
        """Look at all files if somebody may have changed some; whether it was done."""
        note = self._progress
        if not forced and note is not None:
            is_recent = 0 <= time.monotonic() - note.swept_at < _SWEEP_EVERY_S
            if is_recent and self._folder.stat().st_mtime_ns == note.folder_mtime_ns:
                return False
        findings = list(self._files.sweep(self._index.tasks(), but=self._unwritten))
        if findings:
            tx = self._begin()
            tx.take_in(findings)
            self._commit(tx)
        return True


def _settled(finding: Finding) -> Finding:
    return replace(finding, is_fresh=False) if isinstance(finding, Edited) else finding
