"""What was answered to a write, so that the same write sent again gets the same answer.

Kept in a small SQLite file, so it survives a restart. A key belongs to a token, a method and a
path. Answers are kept for a day; a key whose request was cut off by the end of a server is done
again, and its handler is told so (`Repeat`).
"""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stigmergy.board.folders import make_folder
from stigmergy.errors import TransientError, UsageError

__all__ = ["Answer", "AnswerBook", "Conflict", "Fresh"]

_KEPT_S: Final = 24 * 3600.0
_MOST: Final = 200_000
"""Answers; the oldest go first."""
_MOST_BYTES: Final = 256 * 1024**2
"""Of answers together; beyond it the oldest go, until a quarter of it is free."""
_SWEEP_EVERY: Final = 1_000
_SCHEMA: Final = """
    CREATE TABLE IF NOT EXISTS answers (
        key TEXT PRIMARY KEY,
        request BLOB NOT NULL,
        server TEXT NOT NULL,
        at REAL NOT NULL,
        status INTEGER,
        media_type TEXT,
        body BLOB
    ) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS answers_at ON answers (at);
    CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered."""

    status: int
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Fresh:
    """The request is to be carried out."""

    again: bool
    """A server that ended had begun with it: it may have been done."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The key cannot be taken for this request."""

    under_way: bool
    """The same request is being carried out; or else the key was another request's."""


class AnswerBook:
    """The answers on disk. Thread-safe.

    Args:
        path: the file; only this user can read it.
        server: names this process among those that ever served the board.
        most_bytes: so much is kept.
    """

    def __init__(self, path: Path, *, server: str, most_bytes: int = _MOST_BYTES) -> None:
        self._server = server
        self._most_bytes = most_bytes
        self._lock = threading.Lock()
        self._writes = 0
        try:
            make_folder(path.parent)
            path.touch(mode=0o600)
            self._db = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=10.0
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            # A power cut may forget the latest answers: their requests are then done again.
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.executescript(_SCHEMA)
            self._bytes = self._counted_bytes()
        except (OSError, sqlite3.Error) as error:
            raise UsageError(f"the server cannot keep its answers in {path}: {error}") from error

    def begin(self, key: str, request: bytes, *, now: float) -> Answer | Fresh | Conflict:
        """Look a key up, and take it if it is free.

        Args:
            key: with the token, the method and the path in it.
            request: a digest of the body.
            now: seconds since the epoch.
        """
        with self._lock, self._translated():
            row = self._db.execute(
                "SELECT request, server, at, status, media_type, body FROM answers WHERE key = ?",
                (key,),
            ).fetchone()
            if row is None or row[2] < now - _KEPT_S:
                self._put(key, request, now)
                return Fresh(again=False)
            if row[0] != request:
                return Conflict(under_way=False)
            if row[3] is not None:
                return Answer(row[3], row[4], row[5])
            if row[1] == self._server:
                return Conflict(under_way=True)
            self._put(key, request, now)
            return Fresh(again=True)

    def finish(self, key: str, answer: Answer) -> None:
        """Keep what was answered."""
        with self._lock, self._translated():
            self._db.execute(
                "UPDATE answers SET status = ?, media_type = ?, body = ? WHERE key = ?",
                (answer.status, answer.media_type, answer.body, key),
            )
            self._bytes += len(answer.body)
            if self._bytes > self._most_bytes:
                self._make_room()

    def forget(self, key: str) -> None:
        """Nothing was done: the key is free again."""
        with self._lock, self._translated():
            self._db.execute("DELETE FROM answers WHERE key = ?", (key,))

    def reopen(self, key: str) -> None:
        """It may have been done, or not: the next one with the key is to look."""
        with self._lock, self._translated():
            self._db.execute("UPDATE answers SET server = '' WHERE key = ?", (key,))

    def secret(self, name: str, fresh: bytes) -> bytes:
        """A secret that stays the same from one server on this board to the next."""
        with self._lock, self._translated():
            self._db.execute("INSERT OR IGNORE INTO secrets VALUES (?, ?)", (name, fresh))
            row = self._db.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
        return bytes(row[0])

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()

    def _counted_bytes(self) -> int:
        (size,) = self._db.execute("SELECT coalesce(sum(length(body)), 0) FROM answers").fetchone()
        return int(size)

    def _make_room(self) -> None:
        # What was counted since may have been forgotten, so that it is less than was thought.
        self._db.execute(
            "DELETE FROM answers WHERE key IN (SELECT key FROM (SELECT key, sum(length(body)) "
            "OVER (ORDER BY at DESC, key) AS newer FROM answers WHERE body IS NOT NULL) "
            "WHERE newer > ?)",
            (self._most_bytes * 3 // 4,),
        )
        self._bytes = self._counted_bytes()

    def _put(self, key: str, request: bytes, now: float) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, NULL, NULL, NULL)",
            (key, request, self._server, now),
        )
        self._writes += 1
        if self._writes % _SWEEP_EVERY == 0:
            self._db.execute("DELETE FROM answers WHERE at < ?", (now - _KEPT_S,))
            self._db.execute(
                "DELETE FROM answers WHERE key IN "
                "(SELECT key FROM answers ORDER BY at DESC LIMIT -1 OFFSET ?)",
                (_MOST,),
            )

    def _translated(self) -> _Translating:
        return _Translating()


class _Translating:
    """SQLite's errors in this project's words."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, sqlite3.Error):
            raise TransientError(
                f"the server's answers could not be kept: {error}; try again"
            ) from error
