"""The SQLite file of a memory: opened, locked, written in transactions, damaged or not.

Writers queue on a lock file, as those of a board do, and the write-ahead log is checkpointed under
that lock alone: two racing checkpoints and a commit corrupt a database in SQLite up to 3.51.2. A
commit is synced by SQLite itself, since a memory is written a few times a minute.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Final

from stigmergy.board.folders import make_folder
from stigmergy.board.stores.locking import BoardLock
from stigmergy.errors import CorruptError, NotFoundError, TransientError, UsageError

__all__ = ["Database"]

SCHEMA_VERSION: Final = 1
_BUSY_S: Final = 60.0
_CHECKPOINT_CHANGES: Final = 2000
"""Rows that a process changes before it empties the write-ahead log, about."""
_LOG_BYTES: Final = 16 * 1024**2
"""A log larger than this, which others left, is emptied when the memory is opened."""


class Database:
    """One open file. Safe to share by threads and processes; not by a fork.

    Args:
        path: the file.
        create: make it, with its folder, if it is not there.

    Raises:
        NotFoundError: it is not there, and is not to be made.
        UsageError: it cannot be opened, or is of a newer version.
        CorruptError: it is no memory.
    """

    def __init__(self, path: Path, *, create: bool) -> None:
        self.path = path.absolute()
        self._mutex = threading.RLock()
        self._pid = os.getpid()
        self._changes = 0
        if not create and not self.path.exists():
            raise NotFoundError(f"there is no memory at {path}")
        try:
            make_folder(self.path.parent)
            lock = self.path.with_name(f"{self.path.name}.lock")
            self._lock = BoardLock(lock, what="the memory")
            self._db = self._open()
        except (OSError, sqlite3.OperationalError) as error:
            raise UsageError(f"cannot open a memory at {self.path}: {error}") from error
        self.memory_id: str = self._db.execute(
            "SELECT value FROM meta WHERE key = 'memory_id'"
        ).fetchone()[0]

    def _open(self) -> sqlite3.Connection:
        # It may hold what agents saw of private code: for this user alone.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        db = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, timeout=_BUSY_S
        )
        try:
            with self._lock.held(timeout_s=_BUSY_S):
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA wal_autocheckpoint = 0")
                db.execute("PRAGMA foreign_keys = ON")
                self._prepare(db)
                _empty_large_log(db, self.path)
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter: of its message
            db.close()
            if isinstance(error, sqlite3.OperationalError):
                raise
            raise CorruptError(
                f"{self.path} is not a readable memory: {error}. It was left as it is; move it "
                "away to begin a new one",
                where=str(self.path),
            ) from error
        except BaseException:
            db.close()
            raise
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        """Bring a new file to the schema. Under the lock."""
        version = self._check_version(db)
        if version == SCHEMA_VERSION:
            return
        if db.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone():
            raise UsageError(f"{self.path} is a database, but no memory; name another file")
        schema = files("stigmergy.memory").joinpath("schema.sql").read_text("utf-8")
        # Hexadecimal, so it can stand in the statement.
        named = f"INSERT INTO meta VALUES ('memory_id', '{secrets.token_hex(8)}');"
        try:
            db.executescript(
                f"BEGIN IMMEDIATE; {schema} {named} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        except sqlite3.OperationalError as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if "fts5" in str(error):
                raise UsageError(
                    "this Python's SQLite has no FTS5, which the memory searches with: use another "
                    "build of Python"
                ) from error
            raise

    def _check_version(self, db: sqlite3.Connection) -> int:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise UsageError(
                f"the memory {self.path} has schema {version}, this version of stigmergy knows "
                f"{SCHEMA_VERSION}: use a newer one"
            )
        return version

    @contextmanager
    def writing(self) -> Generator[sqlite3.Connection]:
        """A transaction that may write. All of it is kept, or none.

        Raises:
            TransientError: the file is busy or the disk full; it may go well when tried again.
            CorruptError: the file is damaged.
        """
        self._check_usable()
        with self._mutex, self._translating(), self._lock.held(timeout_s=_BUSY_S):
            with self._transaction("BEGIN IMMEDIATE") as db:
                self._check_version(db)
                yield db
            if db.total_changes - self._changes > _CHECKPOINT_CHANGES:
                self._changes = db.total_changes
                # What is committed is safe without it, so a full disk fails the next writer.
                with suppress(sqlite3.OperationalError):
                    db.execute("PRAGMA wal_checkpoint(PASSIVE)")

    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection]:
        """A transaction that reads, all of it as the file stood at one moment.

        Raises:
            CorruptError: the file is damaged.
        """
        self._check_usable()
        with self._mutex, self._translating(), self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def _transaction(self, begin: str) -> Generator[sqlite3.Connection]:
        if self._db.in_transaction:  # of this thread, or the mutex would not be ours
            raise UsageError("this thread has a transaction open on the memory already")
        self._db.execute(begin)
        try:
            yield self._db
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise UsageError("a memory cannot be carried over a fork; open it in the new process")

    @contextmanager
    def _translating(self) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def _translated(self, error: sqlite3.Error) -> Exception:
        """SQLite's error in this project's words."""
        if isinstance(error, sqlite3.ProgrammingError):
            return UsageError(f"this memory is closed; open it again ({self.path})")
        # One without a code is the driver's own: there is text that is no UTF-8.
        if isinstance(error, sqlite3.OperationalError) and hasattr(error, "sqlite_errorcode"):
            code = error.sqlite_errorname
            hint = "free some space and try again" if code == "SQLITE_FULL" else "try again"
            return TransientError(f"the memory {self.path} could not be used: {error}; {hint}")
        return CorruptError(
            f"the memory {self.path} is damaged: {error}. Nothing was written; `stig memory "
            "export` may still save what can be read",
            where=str(self.path),
        )

    def file_bytes(self) -> int:
        """What the file takes on disk, its log included."""
        names = (self.path, self.path.with_name(f"{self.path.name}-wal"))
        return sum(name.stat().st_size for name in names if name.exists())

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        if os.getpid() != self._pid:
            return
        # The last connection to close checkpoints, which must not race a writer's commit.
        with self._mutex, self._lock.held():
            self._db.close()


def _empty_large_log(db: sqlite3.Connection, path: Path) -> None:
    """Checkpoint a large log: each of many short-lived processes writes too little for it."""
    with suppress(OSError, sqlite3.OperationalError):
        if path.with_name(f"{path.name}-wal").stat().st_size > _LOG_BYTES:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)")
