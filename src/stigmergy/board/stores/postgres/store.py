"""A board in a PostgreSQL database, shared by any number of machines.

Leases are on the server's clock. Agents' verbs run as functions in the database, side by side;
everything else takes the board's advisory lock and decides in Python. A lost connection is made
anew: short cuts are asked again under the same key, and the outcome of a commit whose answer was
lost is asked for by its transaction number. Behind a pooler in transaction mode (`pgbouncer=true`)
nothing is prepared, and waiting is by polling, since notifications do not come through.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from stigmergy.board.census import Census, census_from, tally_from
from stigmergy.board.store import Clock, Query
from stigmergy.board.stores.postgres.address import Address
from stigmergy.board.task import Event, Task, TaskStatus
from stigmergy.errors import TransientError, UnsupportedError, UsageError

try:
    import psycopg
except ImportError as missing:
    raise UnsupportedError(
        "a board on PostgreSQL needs psycopg: pip install 'stigmergy[postgres]'"
    ) from missing

from stigmergy.board.stores.postgres.connections import (
    Connection,
    Connections,
    Listener,
    pause_until,
)
from stigmergy.board.stores.postgres.migrations import (
    check_version,
    install_functions,
    migrate,
)
from stigmergy.board.stores.postgres.rows import COLUMNS, escaped, event_of, task_of, unescaped
from stigmergy.board.stores.postgres.shortcuts import PostgresShortcuts
from stigmergy.board.stores.postgres.transaction import PostgresTransaction, select_statement

__all__ = ["PostgresStore"]

_PATIENCE_S: Final = 30.0
"""So long a server that does not answer is tried again."""
_FIRST_POLL_S: Final = 0.02
_LAST_POLL_S: Final = 0.5
_BEGIN: Final = """
    BEGIN;
    SET LOCAL lock_timeout = '60s';
    SET LOCAL idle_in_transaction_session_timeout = '15s';
    SELECT pg_advisory_xact_lock({lock});
    SELECT {s}.base_1(), extract(epoch FROM clock_timestamp())::float8, pg_current_xact_id()::text
"""
_CENSUS: Final = """
    SELECT task_type, status, count(*), count(*) FILTER (WHERE lease_until <= %s),
      min(greatest(created_at, not_before))
        FILTER (WHERE status = 'pending' AND NOT blocked AND not_before <= %s)
    FROM {s}.tasks GROUP BY task_type, status"""
_TALLY: Final = """
    SELECT kind, CASE WHEN kind IN ('failed', 'expired') THEN data END AS ended, count(*)
    FROM {s}.events WHERE seq > %s AND at >= %s AND seq < {s}.horizon_1() GROUP BY kind, ended"""
_DECLINED: Final = "ST001"
_AGAIN: Final = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)


class PostgresStore:
    """A `Store` on one schema of a database. Safe to share by threads; not by a fork.

    Args:
        url: `postgresql://…` as libpq takes it, and the parameters of `Address`.
        clock: instead of the server's; for tests.
        plain: without short cuts, to compare.
    """

    def __init__(self, url: str, *, clock: Clock | None = None, plain: bool = False) -> None:
        self._address = Address.of(url)
        self._clock = clock
        self._pid = os.getpid()
        self._open = threading.local()
        self._connections = Connections(self._address.conninfo, pooled=self._address.pooled)
        self._listener = Listener(self._connections, self._address.channel)
        self._shortcuts = None if plain else PostgresShortcuts(self._call, clock)
        self._begin = self._sql(_BEGIN.replace("{lock}", str(self._address.lock)))
        try:
            with self._connections.use() as connection:
                migrate(connection, self._address)
        except UsageError:
            self._connections.close()
            raise
        except psycopg.OperationalError as error:
            self._connections.close()
            raise TransientError(
                f"the board {self.url} cannot be reached: {str(error).strip()}. Is the server "
                "running, and are name, user and database right? A password may stand in "
                "PGPASSWORD or ~/.pgpass"
            ) from error
        except BaseException:
            self._connections.close()
            raise

    @property
    def url(self) -> str:
        """The URL without its password."""
        return self._address.url

    @property
    def is_local(self) -> bool:
        """Its clock is the server's."""
        return False

    @property
    def blobs(self) -> Path | None:
        """The folder that `blobs=` names."""
        return self._address.blobs

    @property
    def shortcuts(self) -> PostgresShortcuts | None:
        """See `Store.shortcuts`."""
        return self._shortcuts

    def _sql(self, text: str) -> bytes:
        return text.replace("{s}", self._address.schema).encode()

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise UsageError("a board cannot be carried over a fork; open it in the new process")
        self._connections.check_open()

    # Single statements, which may be asked again -----------------------------------------------

    def _call(
        self, text: str, values: Callable[[bool], Sequence[Any]]
    ) -> list[tuple[Any, ...]] | None:
        """The rows of a statement; None when a function declined.

        Asked again when the connection is lost, with `values(True)`.
        """
        self._check_usable()
        deadline = time.monotonic() + _PATIENCE_S
        again = False
        while True:
            try:
                with self._connections.use() as connection:
                    return connection.execute(self._sql(text), values(again)).fetchall()
            except _AGAIN:
                again = True  # nothing was written, but it may be the second time already
            except psycopg.OperationalError as error:
                again = True
                pause_until(deadline, error, what="Whether it was written is not known")
            except psycopg.Error as error:
                if error.sqlstate == _DECLINED:
                    return None
                raise self._translated(error) from error

    def _read(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._call(text, lambda _: values) or []

    def _translated(self, error: psycopg.Error) -> Exception:
        # A connection beside those that are handed out: its thread may still hold one.
        with suppress(psycopg.Error), self._connections.open() as connection:
            try:
                check_version(connection, self._address)
            except UsageError as newer:
                return newer
        text = str(error).strip()
        return TransientError(f"the board {self.url} could not be used: {text}; try again")

    # Transactions --------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Generator[PostgresTransaction]:
        """See `Store.transaction`."""
        self._check_usable()
        if self._open.__dict__.get("is_open"):
            raise UsageError("this thread has a transaction open on the board already")
        self._open.is_open = True
        try:
            with self._transaction() as tx:
                yield tx
        finally:
            self._open.is_open = False

    @contextmanager
    def _transaction(self) -> Generator[PostgresTransaction]:
        with self._begun() as (connection, base, now, xid):
            tx = PostgresTransaction(
                connection,
                self._address.schema,
                now=now,
                xid=int(xid),
                base=base,
                rebase=lambda seq: self._rebase(connection, seq, xid),
            )
            try:
                yield tx
                if tx.flush():
                    connection.execute(self._sql("SELECT {s}.notify_1(true)"))
            except psycopg.OperationalError as error:
                raise TransientError(
                    f"the connection to the board was lost: {str(error).strip()}. Nothing was "
                    "written; try again"
                ) from error
            except psycopg.Error as error:
                self._roll_back(connection)
                raise self._translated(error) from error
            except BaseException:
                self._roll_back(connection)
                raise
            self._commit(connection, xid)

    @contextmanager
    def _begun(self) -> Generator[tuple[Connection, int, float, str]]:
        """A connection that holds the board's lock, tried again until one can be had."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                with self._connections.use() as connection:
                    try:
                        base, server_now, xid = _last_row(connection.execute(self._begin))
                    except psycopg.errors.LockNotAvailable as error:
                        self._roll_back(connection)
                        raise TransientError(
                            "the board is locked by another process for more than 60 s"
                        ) from error
                    except psycopg.OperationalError as error:
                        lost = error
                    else:
                        now = server_now if self._clock is None else self._clock()
                        yield connection, base, now, xid
                        return
            except psycopg.OperationalError as error:
                lost = error
            except psycopg.Error as error:
                raise self._translated(error) from error
            pause_until(deadline, lost, what="Nothing was written")

    def _roll_back(self, connection: Connection) -> None:
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")

    def _commit(self, connection: Connection, xid: str) -> None:
        try:
            connection.execute("COMMIT")
        except psycopg.OperationalError as error:
            if not self._has_committed(xid, error):
                raise TransientError(
                    "the connection to the board was lost while it was written to. Nothing was "
                    "written; try again"
                ) from error

    def _has_committed(self, xid: str, lost: psycopg.OperationalError) -> bool:
        """What became of a commit whose answer was lost: the server knows by its number."""
        deadline = time.monotonic() + _PATIENCE_S
        error: psycopg.OperationalError = lost
        while True:
            try:
                with self._connections.open() as connection:
                    row = connection.execute("SELECT pg_xact_status(%s::xid8)", (xid,)).fetchone()
                if row is not None and row[0] != "in progress":
                    return row[0] == "committed"
            except psycopg.OperationalError as again:
                error = again
            pause_until(deadline, error, what="Whether it was written is not known")

    def _rebase(self, connection: Connection, seq: int, xid: str) -> int:
        """Make every later `seq` higher than this one; the transaction's new base."""
        unmoved = int(xid) << 20
        offset = max(0, seq + 1 - unmoved + (1 << 20))
        install_functions(connection, self._address, offset=offset)
        return unmoved + offset

    # Looking -------------------------------------------------------------------------------------

    def get(self, task_id: str) -> Task | None:
        """See `Store.get`."""
        rows = self._read(f"SELECT {COLUMNS} FROM {{s}}.tasks WHERE task_id = %s", (task_id,))
        return task_of(rows[0]) if rows else None

    def select(self, query: Query) -> list[Task]:
        """See `Store.select`."""
        return [task_of(row) for row in self._read(*select_statement(query))]

    def counts(self, parent_id: str | None) -> dict[TaskStatus, int]:
        """See `Store.counts`."""
        where = "" if parent_id is None else " WHERE parent_id = %s"
        rows = self._read(
            f"SELECT status, count(*) FROM {{s}}.tasks{where} GROUP BY status",
            () if parent_id is None else (parent_id,),
        )
        return {TaskStatus(status): number for status, number in rows}

    def census(self, *, now: float) -> Census:
        """See `Store.census`."""
        rows = self._read(_CENSUS, (now, now))
        return census_from((unescaped(kind), *rest) for kind, *rest in rows)

    def tally(self, *, after: int, since: float) -> dict[str, int]:
        """See `Store.tally`."""
        return tally_from(self._read(_TALLY, (after, since)))

    def events(self, *, after: int, limit: int, task_id: str | None = None) -> list[Event]:
        """See `Store.events`. Of one task: all that is committed."""
        only = "seq < {s}.horizon_1()" if task_id is None else "task_id = %s"
        rows = self._read(
            f"SELECT seq, at, kind, task_id, agent_id, data FROM {{s}}.events "
            f"WHERE seq > %s AND {only} ORDER BY seq LIMIT %s",
            (after, limit) if task_id is None else (after, escaped(task_id), limit),
        )
        return [event_of(row) for row in rows]

    def last_seq(self) -> int:
        """See `Store.last_seq`."""
        latest = "SELECT coalesce(max(seq), 0) FROM {s}.events WHERE seq < {s}.horizon_1()"
        return self._read(latest)[0][0]

    def wait(self, *, after: int, timeout_s: float) -> bool:
        """See `Store.wait`. Woken by a notification; a poll finds what none was sent for."""
        self._check_usable()
        deadline = time.monotonic() + timeout_s
        if not self._address.pooled:
            self._listener.prepare()
        newer = "SELECT 1 FROM {s}.events WHERE seq > %s AND seq < {s}.horizon_1() LIMIT 1"
        poll_s = _FIRST_POLL_S
        while not self._read(newer, (after,)):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._address.pooled:
                threading.Event().wait(min(left, poll_s))
            elif self._listener.wait(min(left, poll_s)):
                poll_s = _FIRST_POLL_S
                continue
            poll_s = min(poll_s * 1.5, _LAST_POLL_S)
        return True

    def close(self) -> None:
        """See `Store.close`."""
        if os.getpid() == self._pid:
            self._connections.close()
            self._listener.close()


def _last_row(cursor: psycopg.Cursor[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The row of the last of several statements."""
    while cursor.nextset():
        pass
    row = cursor.fetchone()
    assert row is not None
    return row
