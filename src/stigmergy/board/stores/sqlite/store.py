"""A board in one SQLite file: the default, for any number of processes on one machine.

Writers queue on a lock file (`BoardLock`) before they begin, so nobody starves in SQLite's busy
handler, and the write-ahead log is checkpointed under that lock alone: two racing checkpoints and
a commit corrupt a database in SQLite up to 3.51.2. Every commit is synced (`synchronous=FULL`).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

from stigmergy.board.folders import make_folder
from stigmergy.board.store import Clock, Query
from stigmergy.board.stores.locking import BoardLock
from stigmergy.board.stores.sqlite.migrations import check_version, migrate
from stigmergy.board.stores.sqlite.rows import event_of, task_of
from stigmergy.board.stores.sqlite.shortcuts import Declined, SqliteShortcuts
from stigmergy.board.stores.sqlite.transaction import (
    SELECT,
    LaneTable,
    SqliteTransaction,
    select_statement,
)
from stigmergy.board.stores.watching import FileWatch
from stigmergy.board.task import Event, Task, TaskStatus, encode_json
from stigmergy.errors import CorruptError, TransientError, UsageError

__all__ = ["SqliteStore"]

_log = logging.getLogger(__name__)

_T = TypeVar("_T")

_CHECKPOINT_PAGES: Final = 1000
"""Pages (of 4 KiB) that a process writes to the log before it checkpoints, about."""
_PAGES_A_COMMIT: Final = 6
_CHANGES_A_PAGE: Final = 4
_LOG_BYTES: Final = 16 * 1024**2
"""A log larger than this, which others left, is emptied when the board is opened."""
_BUSY_S: Final = 60.0
_LAST_SEQ: Final = "SELECT coalesce(max(seq), 0) FROM events"


_OTHERS: Final = """
    SELECT 'pending' AS status, count(*) AS number FROM tasks WHERE ready = 1
    UNION ALL SELECT 'pending', count(*) FROM tasks INDEXED BY tasks_due
      WHERE status = 'pending' AND ready = 0 AND blocked = 0
    UNION ALL SELECT 'pending', count(*) FROM tasks WHERE blocked = 1
    UNION ALL SELECT status, count(*) FROM tasks WHERE lease_until IS NOT NULL GROUP BY status
    UNION ALL SELECT status, count(*) FROM tasks WHERE status IN ('failed', 'cancelled')
      GROUP BY status"""
_COUNTS: Final = f"""
    WITH others AS ({_OTHERS})
    SELECT status, sum(number) FROM others GROUP BY status
    UNION ALL
    SELECT 'completed', (SELECT count(*) FROM tasks) - (SELECT sum(number) FROM others)"""
"""The completed ones are all but those that partial indexes find."""


class SqliteStore:
    """A `Store` on one file. Safe to share by threads and processes; not by a fork.

    Args:
        path: the file; it is made if it is not there, with its folder.
        clock: the time.
        plain: without short cuts, to compare.
    """

    def __init__(self, path: Path, *, clock: Clock, plain: bool = False) -> None:
        self._path = path.absolute()
        self._clock = clock
        self._mutex = threading.RLock()
        self._pid = os.getpid()
        self._watch = FileWatch(self._path.parent, names=frozenset({f"{self._path.name}.lock"}))
        self._lanes = LaneTable()
        self._shortcuts = None if plain else SqliteShortcuts(self._shortcut, self._lanes)
        self._changes = 0
        self._pages = 0
        """Written to the log since the last checkpoint of this process, about."""
        try:
            make_folder(self._path.parent)
            self._lock = BoardLock(self._path.with_name(f"{self._path.name}.lock"))
            self._db = self._open()
        except (OSError, sqlite3.OperationalError) as error:
            raise UsageError(f"cannot open a board at {self._path}: {error}") from error

    @property
    def url(self) -> str:
        """`sqlite:///` and the absolute path."""
        return f"sqlite:///{self._path}"

    @property
    def is_local(self) -> bool:
        """See `Store.is_local`."""
        return True

    @property
    def blobs(self) -> Path:
        """A folder beside the file."""
        return self._path.with_name(f"{self._path.name}.blobs")

    @property
    def shortcuts(self) -> SqliteShortcuts | None:
        """See `Store.shortcuts`."""
        return self._shortcuts

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S
        )
        try:
            with self._lock.held(timeout_s=_BUSY_S) as fd:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA wal_autocheckpoint = 0")
                db.execute("PRAGMA foreign_keys = ON")
                if migrate(db, where=str(self._path)) == 0:
                    os.ftruncate(fd, 0)  # a new board beside the lock file of one that is gone
                self._compare_with_note(db, fd)
                self._empty_log_if_large(db)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter: of its message
            db.close()
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise CorruptError(
                f"{self._path} is not a readable board: {error}. It was left as it is; move it "
                "away to begin a new one",
                where=str(self._path),
            ) from error
        except BaseException:
            db.close()
            raise
        return db

    def _empty_log_if_large(self, db: sqlite3.Connection) -> None:
        # Each of many short-lived processes writes too little to checkpoint.
        log = self._path.with_name(f"{self._path.name}-wal")
        with suppress(OSError, sqlite3.OperationalError):
            if log.stat().st_size > _LOG_BYTES:
                db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _shortcut(self, work: Callable[[sqlite3.Connection, float], _T]) -> _T | None:
        # As `transaction`, without its generators: they cost a tenth of a short cut.
        self._check_usable()
        with self._mutex:
            self._check_not_nested()
            fd = self._lock.acquire()
            try:
                return self._run(work, fd)
            except sqlite3.Error as error:
                raise self._translated(error) from error
            finally:
                os.close(fd)

    def _run(self, work: Callable[[sqlite3.Connection, float], _T], fd: int) -> _T | None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._check_version()
            done = work(self._db, self._clock())
            self._db.execute("COMMIT")
        except Declined:
            self._rollback()
            return None
        except BaseException:
            self._rollback()
            raise
        self._note_end(fd)
        self._checkpoint_if_due()
        return done

    @contextmanager
    def transaction(self) -> Generator[SqliteTransaction]:
        """See `Store.transaction`."""
        self._check_usable()
        with self._mutex, self._alone() as fd, self._translating():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._check_version()
                yield SqliteTransaction(self._db, self._lanes, now=self._clock())
                self._db.execute("COMMIT")
            except BaseException:
                self._rollback()
                raise
            self._note_end(fd)
            self._checkpoint_if_due()

    @contextmanager
    def _alone(self) -> Generator[int]:
        self._check_not_nested()
        with self._lock.held() as fd:
            yield fd

    def _note_end(self, fd: int) -> None:
        """Note in the lock file how far the journal goes; `_compare_with_note` tells why.

        After the commit and unsynced, so after a power cut the note may be behind, never ahead.
        """
        with suppress(OSError, sqlite3.Error):  # the disk is full, or damaged: then without
            (last,) = self._db.execute(_LAST_SEQ).fetchone()
            os.pwrite(fd, b"%020d\n" % last, 0)

    def _compare_with_note(self, db: sqlite3.Connection, fd: int) -> None:
        """See whether the journal goes as far as it once did.

        SQLite takes a damaged frame of its log for the log's end, and so passes over commits that
        were promised; nothing else would tell. They cannot be had back, but are not lost silently.
        """
        try:
            noted = int(os.pread(fd, 21, 0))
            (last,) = db.execute(_LAST_SEQ).fetchone()
        except (ValueError, sqlite3.DatabaseError):
            return  # no note; or a damaged board, which the doctor must be able to open
        if last >= noted:
            return
        reason = "the write-ahead log is damaged, or an older copy was put in the board's place"
        _log.error("the board %s has lost its last %d events: %s", self._path, noted - last, reason)
        data = encode_json({"lost_events": noted - last, "reason": reason}, what="an event")
        # Its number is above all that were ever told, so that no cursor passes over what comes.
        row = (noted + 1, self._clock(), "damaged", "", "", data)
        db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)

    def _check_not_nested(self) -> None:
        with self._translating():
            if self._db.in_transaction:  # of this thread, or the mutex would not be ours
                raise UsageError("this thread has a transaction open on the board already")

    def _rollback(self) -> None:
        self._lanes.forget()
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _checkpoint_if_due(self) -> None:
        """Move the log into the database from time to time.

        Passive, so it waits for no reader, and the log is written over from its beginning: a file
        that keeps its length is synced in a third of the time of one that grows.
        """
        changes = self._db.total_changes
        self._pages += _PAGES_A_COMMIT + (changes - self._changes) // _CHANGES_A_PAGE
        self._changes = changes
        if self._pages >= _CHECKPOINT_PAGES:
            self._pages = 0
            # What is committed is safe without it, so a full disk fails the next writer, not us.
            with suppress(sqlite3.OperationalError):
                self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise UsageError("a board cannot be carried over a fork; open it in the new process")

    def _rows(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        self._check_usable()
        with self._mutex, self._translating():
            return self._db.execute(sql, tuple(values)).fetchall()

    @contextmanager
    def _translating(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.Error) -> Exception:
        """SQLite's error in this project's words."""
        if isinstance(error, sqlite3.ProgrammingError):
            return UsageError(f"this board is closed; open it again ({self._path})")
        # One without a code is the driver's own: there is text that is no UTF-8.
        if isinstance(error, sqlite3.OperationalError) and hasattr(error, "sqlite_errorcode"):
            code = error.sqlite_errorname
            hint = "free some space and try again" if code == "SQLITE_FULL" else "try again"
            return TransientError(f"the board {self._path} could not be used: {error}; {hint}")
        return CorruptError(
            f"the board {self._path} is damaged: {error}. Nothing was written; "
            "`stig board doctor` tells more",
            where=str(self._path),
        )

    def _check_version(self) -> None:
        """See that no newer version of the program took the board over, which may be any time."""
        check_version(self._db, where=str(self._path))

    def get(self, task_id: str) -> Task | None:
        """See `Store.get`."""
        rows = self._rows(f"{SELECT} WHERE task_id = ?", (task_id,))
        return task_of(rows[0]) if rows else None

    def select(self, query: Query) -> list[Task]:
        """See `Store.select`."""
        sql, values = select_statement(query)
        return [task_of(row) for row in self._rows(sql, values)]

    def counts(self, parent_id: str | None) -> dict[TaskStatus, int]:
        """See `Store.counts`."""
        if parent_id is None:
            rows = self._rows(_COUNTS)
        else:
            by_parent = "SELECT status, count(*) FROM tasks WHERE parent_id = ? GROUP BY status"
            rows = self._rows(by_parent, (parent_id,))
        return {TaskStatus(status): number for status, number in rows if number}

    def events(self, *, after: int, limit: int, task_id: str | None = None) -> list[Event]:
        """See `Store.events`."""
        only = "" if task_id is None else " AND task_id = ?"
        rows = self._rows(
            f"SELECT seq, at, kind, task_id, agent_id, data FROM events WHERE seq > ?{only} "
            "ORDER BY seq LIMIT ?",
            (after, limit) if task_id is None else (after, task_id, limit),
        )
        return [event_of(row) for row in rows]

    def last_seq(self) -> int:
        """See `Store.last_seq`."""
        return self._rows(_LAST_SEQ)[0][0]

    def wait(self, *, after: int, timeout_s: float) -> bool:
        """See `Store.wait`. Woken by inotify when a writer lets go of the lock file.

        The write-ahead log changes before its commit can be seen: whoever looks then sees nothing,
        and sleeps through it.
        """

        def ready() -> bool:
            rows = self._rows("SELECT 1 FROM events WHERE seq > ? LIMIT 1", (after,))
            return bool(rows)

        return self._watch.wait(timeout_s=timeout_s, ready=ready)

    def close(self) -> None:
        """See `Store.close`."""
        if os.getpid() != self._pid:
            return
        self._watch.close()
        # The last connection to close checkpoints, which must not race a writer's commit.
        with self._mutex, self._lock.held():
            self._db.close()
