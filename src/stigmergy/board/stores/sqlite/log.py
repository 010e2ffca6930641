"""The write-ahead log of a SQLite board: when it is synced, when it is emptied, what it lost.

A commit is synced after the board's lock was let go, and before anybody is told of it: neither who
wrote it nor who reads. So the next writer works while the disk does, and one that syncs later
syncs the earlier commits too, since a log is one file. How far the journal is on disk stands in
the lock file.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from stigmergy.board.store import Clock
from stigmergy.board.task import encode_json
from stigmergy.errors import TransientError

__all__ = ["LAST_SEQ", "End", "WriteAheadLog"]

_logger = logging.getLogger(__name__)

_CHECKPOINT_PAGES: Final = 1000
"""Pages (of 4 KiB) that a process writes to the log before it checkpoints, about."""
_PAGES_A_COMMIT: Final = 6
_CHANGES_A_PAGE: Final = 4
_LOG_BYTES: Final = 16 * 1024**2
"""A log larger than this, which others left, is emptied when the board is opened."""
LAST_SEQ: Final = "SELECT coalesce(max(seq), 0) FROM events"

End = tuple[int, bool]
"""The journal's last event when a transaction ended, and whether that wrote anything."""


class WriteAheadLog:
    """The log of one connection. Thread-safe where it says so; else under the board's lock.

    Args:
        db: a connection that has read from the board, so that its log is there.
        path: the board's file.
        lock: the lock file, which bears the note.
    """

    def __init__(self, db: sqlite3.Connection, path: Path, lock: Path) -> None:
        self._board = path
        self._path = path.with_name(f"{path.name}-wal")
        self._db = db
        self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        # Of its own, for the lock belongs to the open file; only to read, so closing wakes nobody.
        self._note_fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
        self._synced = 0
        """The journal is on disk up to this event, as far as this process knows."""
        self._changes = 0
        self._pages = 0
        """Written since the last checkpoint of this process, about."""

    @classmethod
    def opened(cls, db: sqlite3.Connection, path: Path, lock: Path, clock: Clock) -> WriteAheadLog:
        """The log of a board that is being opened: looked over, not too large, and synced."""
        log = cls(db, path, lock)
        try:
            log._compare_with_note(clock)
            log._empty_if_large()
            log._sync()
        except BaseException:
            log._release()
            raise
        return log

    def close(self) -> None:
        """Let go of the files. Idempotent. Whoever has yet to sync finds it done."""
        try:
            if self._fd >= 0:
                self._sync()
        finally:
            self._release()

    def _release(self) -> None:
        for fd in (self._fd, self._note_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._note_fd = -1

    # Syncing ---------------------------------------------------------------------------------

    def end(self) -> End:
        """How far a transaction takes the journal; within it, the last thing before its commit."""
        changes = self._db.total_changes
        written, self._changes = changes - self._changes, changes
        if written:
            self._pages += _PAGES_A_COMMIT + written // _CHANGES_A_PAGE
        return self._last_seq(), written > 0

    def sync(self, end: End, lock_fd: int) -> None:
        """Put a transaction that was committed on disk, and note it.

        Thread-safe, and called without the board's lock. The note is not synced: after a power cut
        it may be behind, never ahead.

        Raises:
            TransientError: the disk is broken.
        """
        last, has_written = end
        if not has_written and self._is_synced(last):
            return
        self._sync()
        self._synced = max(self._synced, last)
        with suppress(OSError):  # the disk is full: then without
            if self._noted() < last:
                os.pwrite(lock_fd, b"%020d\n" % last, 0)

    def sync_what_is_read(self) -> None:
        """See that nothing is told which a power cut could take back: its writer may yet sync it.

        Raises:
            TransientError: the disk is broken.
        """
        last = self._last_seq()
        if not self._is_synced(last):
            self._sync()
        self._synced = last

    def _is_synced(self, last: int) -> bool:
        return last <= self._synced or last <= self._noted()

    def _last_seq(self) -> int:
        return self._db.execute(LAST_SEQ).fetchone()[0]

    def _sync(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            raise TransientError(
                f"the board {self._board} could not be synced: {error}. What was written last may "
                "be lost when the power goes; see to the disk, and try again"
            ) from error

    def _noted(self) -> int:
        try:
            return int(os.pread(self._note_fd, 21, 0))
        except ValueError:
            return 0

    # Opening ---------------------------------------------------------------------------------

    def _compare_with_note(self, clock: Clock) -> None:
        """See whether the journal goes as far as it once did.

        SQLite takes a damaged frame of its log for the log's end, and so passes over commits that
        were promised; nothing else would tell. They cannot be had back, but are not lost silently.
        """
        noted = self._noted()
        try:
            last = self._last_seq()
        except sqlite3.DatabaseError:
            return  # a damaged board, which the doctor must be able to open
        if last >= noted:
            return
        lost = noted - last
        reason = "the write-ahead log is damaged, or an older copy was put in the board's place"
        _logger.error("the board %s has lost its last %d events: %s", self._board, lost, reason)
        data = encode_json({"lost_events": lost, "reason": reason}, what="an event")
        # Its number is above all that were ever told, so that no cursor passes over what comes.
        row = (noted + 1, clock(), "damaged", "", "", data)
        self._db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)

    def _empty_if_large(self) -> None:
        """Checkpoint a large log: each of many short-lived processes writes too little for it."""
        with suppress(OSError, sqlite3.OperationalError):
            if os.fstat(self._fd).st_size > _LOG_BYTES:
                self._checkpoint()

    # Emptying --------------------------------------------------------------------------------

    def checkpoint_if_due(self) -> None:
        """Move the log into the database from time to time.

        Passive, so it waits for no reader, and the log is written over from its beginning: a file
        that keeps its length is synced in a third of the time of one that grows.
        """
        if self._pages >= _CHECKPOINT_PAGES:
            self._pages = 0
            # What is committed is safe without it, so a full disk fails the next writer, not us.
            with suppress(sqlite3.OperationalError):
                self._checkpoint()

    def _checkpoint(self) -> None:
        self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
