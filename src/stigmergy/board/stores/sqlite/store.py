"""A board in one SQLite file: the default, for any number of processes on one machine.

Writers queue on a lock file (`BoardLock`) before they begin, so nobody starves in SQLite's busy
handler, and the write-ahead log is checkpointed under that lock alone: two racing checkpoints and
a commit corrupt a database in SQLite up to 3.51.2. Every commit is synced before anybody is told
of it, by the board (`log.py`) and not by SQLite, which would hold its lock meanwhile.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from stigmergy.board.census import Census, census_from, tally_from
from stigmergy.board.folders import make_folder
from stigmergy.board.store import Clock, Query
from stigmergy.board.stores.locking import BoardLock
from stigmergy.board.stores.sqlite.log import LAST_SEQ, End, WriteAheadLog
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
from stigmergy.board.task import Event, Task, TaskStatus
from stigmergy.errors import CorruptError, TransientError, UsageError

__all__ = ["SqliteStore"]

_T = TypeVar("_T")

_BUSY_S: Final = 60.0

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
_CENSUS: Final = """
    SELECT task_type, status, count(*), count(CASE WHEN lease_until <= ?1 THEN 1 END),
      min(CASE WHEN status = 'pending' AND NOT blocked AND not_before <= ?1
        THEN max(created_at, not_before) END)
    FROM tasks GROUP BY task_type, status"""
_TALLY: Final = """
    SELECT kind, CASE WHEN kind IN ('failed', 'expired') THEN data END AS ended, count(*)
    FROM events WHERE seq > ? AND at >= ? GROUP BY kind, ended"""


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
        try:
            make_folder(self._path.parent)
            self._lock = BoardLock(self._path.with_name(f"{self._path.name}.lock"))
            self._db, self._log = self._open()
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

    def _open(self) -> tuple[sqlite3.Connection, WriteAheadLog]:
        db = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S
        )
        try:
            with self._lock.held(timeout_s=_BUSY_S) as fd:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")  # never torn; the rest is `log.sync`
                db.execute("PRAGMA wal_autocheckpoint = 0")
                db.execute("PRAGMA foreign_keys = ON")
                if migrate(db, where=str(self._path)) == 0:
                    os.ftruncate(fd, 0)  # a new board beside the lock file of one that is gone
                return db, WriteAheadLog.opened(db, self._path, self._lock.path, self._clock)
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

    def _shortcut(self, work: Callable[[sqlite3.Connection, float], _T]) -> _T | None:
        # As `transaction`, without its generators: they cost a tenth of a short cut.
        self._check_usable()
        with self._mutex:
            self._check_not_nested()
            fd = self._lock.acquire()
            try:
                done, end = self._run(work)
                self._lock.let_go(fd)
            except BaseException as error:
                os.close(fd)
                if isinstance(error, sqlite3.Error):
                    raise self._translated(error) from error
                raise
        try:
            if end is not None:
                self._log.sync(end, fd)
        finally:
            os.close(fd)
        return done

    def _run(
        self, work: Callable[[sqlite3.Connection, float], _T]
    ) -> tuple[_T, End] | tuple[None, None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._check_version()
            done = work(self._db, self._clock())
            end = self._log.end()
            self._db.execute("COMMIT")
        except Declined:
            self._rollback()
            return None, None
        except BaseException:
            self._rollback()
            raise
        self._log.checkpoint_if_due()
        return done, end

    @contextmanager
    def transaction(self) -> Generator[SqliteTransaction]:
        """See `Store.transaction`."""
        self._check_usable()
        with self._mutex, self._translating():
            self._check_not_nested()
            with self._lock.held() as fd:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    self._check_version()
                    yield SqliteTransaction(self._db, self._lanes, now=self._clock())
                    end = self._log.end()
                    self._db.execute("COMMIT")
                except BaseException:
                    self._rollback()
                    raise
                self._log.checkpoint_if_due()
                self._lock.let_go(fd)
                self._log.sync(end, fd)

    def _check_not_nested(self) -> None:
        with self._translating():
            if self._db.in_transaction:  # of this thread, or the mutex would not be ours
                raise UsageError("this thread has a transaction open on the board already")

    def _rollback(self) -> None:
        self._lanes.forget()
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise UsageError("a board cannot be carried over a fork; open it in the new process")

    def _rows(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        self._check_usable()
        with self._mutex, self._translating():
            rows = self._db.execute(sql, tuple(values)).fetchall()
            self._log.sync_what_is_read()
        return rows

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

    def census(self, *, now: float) -> Census:
        """See `Store.census`."""
        return census_from(self._rows(_CENSUS, (now,)))

    def tally(self, *, after: int, since: float) -> dict[str, int]:
        """See `Store.tally`."""
        return tally_from(self._rows(_TALLY, (after, since)))

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
        return self._rows(LAST_SEQ)[0][0]

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
            try:
                self._log.close()
            finally:
                self._db.close()
