"""Connections to the database: a few, made when needed, replaced when lost.

No thread of their own: whoever finds a connection broken throws the idle ones away too, since a
server that restarted broke them all.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from stigmergy.errors import TransientError, UsageError

__all__ = ["Connection", "Connections", "Listener"]

Connection = psycopg.Connection[tuple[Any, ...]]

_LIVENESS: Final = {
    # A host that is gone is noticed within some 15 s instead of the kernel's two hours.
    "connect_timeout": "10",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "application_name": "stigmergy",
}
_PAUSE_S: Final = 0.2
_BUSY_S: Final = 60.0


class Connections:
    """Hands out connections, each to one thread at a time. Thread-safe.

    Args:
        conninfo: as libpq takes it; what it says wins over the defaults here.
        pooled: a pooler in transaction mode stands between, so nothing may be prepared.
        most: at the same time; threads beyond that wait.
    """

    def __init__(self, conninfo: str, *, pooled: bool, most: int = 8) -> None:
        try:
            given = {k: v for k, v in conninfo_to_dict(conninfo).items() if v is not None}
        except psycopg.ProgrammingError as error:
            raise UsageError(f"the board's URL cannot be understood: {error}") from None
        self._conninfo = make_conninfo("", **{**_LIVENESS, **given})
        self._prepare_after = None if pooled else 3
        self._idle: list[Connection] = []
        self._free = threading.Semaphore(most)
        self._lock = threading.Lock()
        self._closed = False

    @contextmanager
    def use(self) -> Generator[Connection]:
        """A connection in autocommit mode; one that is broken does not come back.

        Raises:
            TransientError: all were in use for a minute.
            psycopg.OperationalError: the server cannot be reached.
        """
        self.check_open()
        if not self._free.acquire(timeout=_BUSY_S):
            raise TransientError(
                f"all connections of this process to the board were in use for {_BUSY_S:.0f} s; "
                "try again, or let fewer threads share it"
            )
        try:
            connection = self._take()
            try:
                yield connection
            finally:
                self._give_back(connection)
        finally:
            self._free.release()

    def open(self) -> Connection:
        """A new connection that nobody else gets.

        Raises:
            psycopg.OperationalError: the server cannot be reached.
        """
        return psycopg.connect(
            self._conninfo, autocommit=True, prepare_threshold=self._prepare_after
        )

    def check_open(self) -> None:
        """Refuse to go on after `close`."""
        if self._closed:
            raise UsageError("this board is closed; open it again")

    def close(self) -> None:
        """Close the idle ones now and the others when they come back. Idempotent."""
        self._closed = True
        self._drop_idle()

    def _take(self) -> Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self.open()

    def _give_back(self, connection: Connection) -> None:
        idle = connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
        if not idle or self._closed:
            with suppress(psycopg.Error):
                connection.close()
            if connection.broken:
                self._drop_idle()
            return
        with self._lock:
            self._idle.append(connection)

    def _drop_idle(self) -> None:
        with self._lock:
            dropped, self._idle = self._idle, []
        for connection in dropped:
            with suppress(psycopg.Error):
                connection.close()


class Listener:
    """Sleeps until the board notifies. Thread-safe: one thread listens for all that wait."""

    def __init__(self, connections: Connections, channel: str) -> None:
        self._connections = connections
        self._channel = channel
        self._connection: Connection | None = None
        self._turn = threading.Condition()
        self._busy = False

    def prepare(self) -> None:
        """Listen from now on, so that what comes after is not missed. Idempotent."""
        with self._turn:
            if self._busy or self._connection is not None:
                return
            with suppress(psycopg.OperationalError):  # then the poll has to do
                connection = self._connections.open()
                try:
                    connection.execute(f'LISTEN "{self._channel}"'.encode())
                except psycopg.OperationalError:
                    connection.close()
                    raise
                self._connection = connection

    def wait(self, timeout_s: float) -> bool:
        """Sleep until notified, at most the given seconds; whether something may have come."""
        with self._turn:
            if self._busy or self._connection is None:
                return self._turn.wait(timeout_s)
            self._busy = True
            connection = self._connection
        woken = False
        try:
            woken = any(True for _ in connection.notifies(timeout=timeout_s, stop_after=1))
        except psycopg.OperationalError:
            self._forget(connection)
        finally:
            with self._turn:
                self._busy = False
                if woken:
                    self._turn.notify_all()
                else:
                    self._turn.notify()  # somebody else takes over listening
        return woken

    def close(self) -> None:
        """Stop listening. Idempotent."""
        if self._connection is not None:
            self._forget(self._connection)

    def _forget(self, connection: Connection) -> None:
        self._connection = None
        with suppress(psycopg.Error):
            connection.close()


def pause_until(deadline: float, error: Exception, *, what: str) -> None:
    """Wait a moment before the server is tried again.

    Raises:
        TransientError: the time is up.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TransientError(
            f"the board's database cannot be reached: {str(error).strip()}. {what}; try again"
        ) from error
    threading.Event().wait(min(left, _PAUSE_S))
