"""A board in one SQLite file: the default, for any number of processes on one machine.

Writers queue on a lock file (`BoardLock`) before they begin, so nobody starves in SQLite's busy
handler, and the write-ahead log is checkpointed under that lock alone: two racing checkpoints and
a commit corrupt a database in SQLite up to 3.51.2. Every commit is synced (`synchronous=FULL`).
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from stigmergy.board.lifecycle import rank
from stigmergy.board.store import Clock, Match, Query
from stigmergy.board.stores.locking import BoardLock
from stigmergy.board.stores.watching import wait_for_change
from stigmergy.board.task import Event, Task, TaskStatus, encode_json
from stigmergy.errors import CorruptError, TransientError, UsageError

__all__ = ["SCHEMA_VERSION", "SqliteStore"]

SCHEMA_VERSION: Final = 1

_CHECKPOINT_PAGES: Final = 1000
"""Size of the write-ahead log at which a writer checkpoints, in pages of 4 KiB."""

_COLUMNS: Final = (
    "task_id, task_type, description, payload, requires, depends_on, waiting_on, parent_id, "
    "priority, status, attempts, max_attempts, not_before, created_at, claimed_by, claimed_at, "
    "lease_until, fence, finished_at, result, error"
)
_SELECT: Final = f"SELECT {_COLUMNS} FROM tasks"
_INSERT: Final = (
    f"INSERT INTO tasks ({_COLUMNS}, lane, rank, ready, blocked) VALUES ({', '.join('?' * 25)})"
)
_UPDATE: Final = """
    UPDATE tasks SET depends_on = ?, waiting_on = ?, status = ?, attempts = ?, max_attempts = ?,
      not_before = ?, claimed_by = ?, claimed_at = ?, lease_until = ?, fence = ?, finished_at = ?,
      result = ?, error = ?, payload = ?, description = ?, priority = ?, rank = ?, ready = ?,
      blocked = ?
    WHERE task_id = ?"""
_READY: Final = f"""
    {_SELECT} WHERE place IN (
      SELECT first.place FROM json_each(?) AS lane
      JOIN tasks AS first ON first.place IN (
        SELECT place FROM tasks WHERE ready = 1 AND lane = lane.value AND not_before <= ?
        ORDER BY rank, place LIMIT ?
      )
    ) ORDER BY rank, place LIMIT ?"""
_DUE: Final = """
    UPDATE tasks INDEXED BY tasks_due SET ready = 1
    WHERE status = 'pending' AND ready = 0 AND blocked = 0 AND not_before <= ?"""
"""Without the hint the planner reads every pending task: it has no statistics, and tables grow."""


class SqliteStore:
    """A `Store` on one file. Safe to share by threads and processes; not by a fork."""

    def __init__(self, path: Path, *, clock: Clock) -> None:
        self._path = path.absolute()
        self._clock = clock
        self._mutex = threading.RLock()
        self._pid = os.getpid()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = BoardLock(self._path.with_name(f"{self._path.name}.lock"))
            self._db = self._open()
        except (OSError, sqlite3.OperationalError) as error:
            raise UsageError(f"cannot open a board at {self._path}: {error}") from error

    @property
    def url(self) -> str:
        """`sqlite:///` and the absolute path."""
        return f"sqlite:///{self._path}"

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=60.0
        )
        try:
            with self._lock.held():
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA wal_autocheckpoint = 0")
                db.execute("PRAGMA foreign_keys = ON")
                self._migrate(db)
        except sqlite3.DatabaseError as error:
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

    def _migrate(self, db: sqlite3.Connection) -> None:
        if self._schema_version(db) == 0:
            schema = files("stigmergy.board.stores").joinpath("sqlite.sql").read_text()
            db.executescript(f"BEGIN; {schema} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")

    def _schema_version(self, db: sqlite3.Connection) -> int:
        """The board's, if this version of the program knows it."""
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise UsageError(
                f"the board {self._path} has schema {version}, this version of stigmergy knows "
                f"{SCHEMA_VERSION}: use a newer one"
            )
        return version

    @contextmanager
    def transaction(self) -> Generator[SqliteTransaction]:
        """See `Store.transaction`."""
        self._check_usable()
        with self._mutex, self._lock.held(), _translated(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._schema_version(self._db)  # a newer program may have come meanwhile
                yield SqliteTransaction(self._db, now=self._clock())
            except BaseException:
                self._rollback()
                raise
            try:
                self._db.execute("COMMIT")
            except sqlite3.Error:
                self._rollback()
                raise
            self._checkpoint_if_due()

    def _rollback(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _checkpoint_if_due(self) -> None:
        # What is committed is safe without it, so a full disk here fails the next writer, not us.
        with suppress(OSError, sqlite3.OperationalError):
            wal = self._path.with_name(f"{self._path.name}-wal")
            if wal.stat().st_size > _CHECKPOINT_PAGES * 4096:
                self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _check_usable(self) -> None:
        if os.getpid() != self._pid:
            raise UsageError("a board cannot be carried over a fork; open it in the new process")

    def _rows(self, sql: str, values: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        self._check_usable()
        with self._mutex, _translated(self._path):
            return self._db.execute(sql, tuple(values)).fetchall()

    def get(self, task_id: str) -> Task | None:
        """See `Store.get`."""
        rows = self._rows(f"{_SELECT} WHERE task_id = ?", (task_id,))
        return _task(rows[0]) if rows else None

    def select(self, query: Query) -> list[Task]:
        """See `Store.select`."""
        sql, values = _select_statement(query)
        return [_task(row) for row in self._rows(sql, values)]

    def counts(self, parent_id: str | None) -> dict[TaskStatus, int]:
        """See `Store.counts`."""
        where = "" if parent_id is None else " WHERE parent_id = ?"
        rows = self._rows(
            f"SELECT status, count(*) FROM tasks{where} GROUP BY status",
            () if parent_id is None else (parent_id,),
        )
        return {TaskStatus(status): number for status, number in rows}

    def events(self, *, after: int, limit: int, task_id: str | None = None) -> list[Event]:
        """See `Store.events`."""
        only = "" if task_id is None else " AND task_id = ?"
        rows = self._rows(
            f"SELECT seq, at, kind, task_id, agent_id, data FROM events WHERE seq > ?{only} "
            "ORDER BY seq LIMIT ?",
            (after, limit) if task_id is None else (after, task_id, limit),
        )
        return [
            Event(seq=seq, at=at, kind=kind, task_id=task, agent_id=agent, data=json.loads(data))
            for seq, at, kind, task, agent, data in rows
        ]

    def wait(self, *, after: int, timeout_s: float) -> bool:
        """See `Store.wait`. Woken by inotify when a writer lets go of the lock file.

        The write-ahead log changes before its commit can be seen: whoever looks then sees nothing,
        and sleeps through it.
        """

        def ready() -> bool:
            rows = self._rows("SELECT 1 FROM events WHERE seq > ? LIMIT 1", (after,))
            return bool(rows)

        names = frozenset({f"{self._path.name}.lock"})
        return wait_for_change(self._path.parent, names=names, timeout_s=timeout_s, ready=ready)

    def close(self) -> None:
        """See `Store.close`."""
        if os.getpid() != self._pid:
            return
        # The last connection to close checkpoints, which must not race a writer's commit.
        with self._mutex, self._lock.held():
            self._db.close()


class SqliteTransaction:
    """A `Transaction` inside BEGIN IMMEDIATE."""

    def __init__(self, db: sqlite3.Connection, *, now: float) -> None:
        self._db = db
        self._now = now

    @property
    def now(self) -> float:
        """See `Transaction.now`."""
        return self._now

    def get(self, task_id: str) -> Task | None:
        """See `Transaction.get`."""
        row = self._db.execute(f"{_SELECT} WHERE task_id = ?", (task_id,)).fetchone()
        return None if row is None else _task(row)

    def put(self, task: Task) -> None:
        """See `Transaction.put`. The type and the requirements of a task never change."""
        pending = task.status is TaskStatus.PENDING
        blocked = pending and bool(task.waiting_on)
        ready = pending and not blocked and task.not_before <= self._now
        changed = self._db.execute(_UPDATE, _update_row(task, ready=ready, blocked=blocked))
        if changed.rowcount == 0:
            lane = self._lane(task)
            row = (*_row(task), lane, rank(task), int(ready), int(blocked))
            self._db.execute(_INSERT, row)
            if not task.waiting_on:
                return
        else:
            self._db.execute("DELETE FROM waits WHERE task_id = ?", (task.task_id,))
        self._db.executemany(
            "INSERT INTO waits (needs, task_id) VALUES (?, ?)",
            [(name, task.task_id) for name in task.waiting_on],
        )

    def _lane(self, task: Task) -> int:
        key = task.task_type, json.dumps(task.requires)
        found = self._db.execute(
            "SELECT lane FROM lanes WHERE task_type = ? AND requires = ?", key
        ).fetchone()
        if found is None:
            found = self._db.execute(
                "INSERT INTO lanes (task_type, requires) VALUES (?, ?) RETURNING lane", key
            ).fetchone()
        return int(found[0])

    def append(
        self, kind: str, *, task_id: str = "", agent_id: str = "", data: dict[str, object]
    ) -> None:
        """See `Transaction.append`."""
        text = encode_json(data, what=f"the data of event {kind!r}")
        self._db.execute(
            "INSERT INTO events (at, kind, task_id, agent_id, data) VALUES (?, ?, ?, ?, ?)",
            (self._now, kind, task_id, agent_id, text),
        )

    def ready(self, match: Match, *, limit: int) -> list[Task]:
        """See `Transaction.ready`. One indexed look for each lane, however many tasks wait."""
        self._db.execute(_DUE, (self._now,))
        lanes = [
            lane
            for lane, kind, requires in self._db.execute("SELECT * FROM lanes")
            if match.accepts(kind, json.loads(requires))
        ]
        rows = self._db.execute(_READY, (json.dumps(lanes), self._now, limit, limit))
        return [_task(row) for row in rows]

    def expired(self, *, limit: int) -> list[Task]:
        """See `Transaction.expired`."""
        rows = self._db.execute(
            f"{_SELECT} WHERE lease_until <= ? ORDER BY lease_until, place LIMIT ?",
            (self._now, limit),
        )
        return [_task(row) for row in rows]

    def dependents(self, task_id: str) -> list[Task]:
        """See `Transaction.dependents`."""
        rows = self._db.execute(
            f"{_SELECT} WHERE task_id IN (SELECT task_id FROM waits WHERE needs = ?) "
            "ORDER BY place",
            (task_id,),
        )
        return [_task(row) for row in rows]

    def select(self, query: Query) -> list[Task]:
        """See `Transaction.select`."""
        return [_task(row) for row in self._db.execute(*_select_statement(query))]


def _select_statement(query: Query) -> tuple[str, list[Any]]:
    terms: list[str] = []
    values: list[Any] = []
    for column, wanted in (("status", query.statuses), ("task_type", query.task_types)):
        if wanted is not None:
            terms.append(f"{column} IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(sorted(wanted)))
    for column, value in (("parent_id", query.parent_id), ("claimed_by", query.claimed_by)):
        if value is not None:
            terms.append(f"{column} = ?")
            values.append(value)
    where = f" WHERE {' AND '.join(terms)}" if terms else ""
    return f"{_SELECT}{where} ORDER BY place", values


def _row(task: Task) -> tuple[Any, ...]:
    return (
        task.task_id,
        task.task_type,
        task.description,
        encode_json(task.payload, what=f"the payload of task {task.task_id!r}"),
        json.dumps(task.requires),
        json.dumps(task.depends_on),
        json.dumps(task.waiting_on),
        task.parent_id,
        task.priority,
        task.status.value,
        task.attempts,
        task.max_attempts,
        task.not_before,
        task.created_at,
        task.claimed_by,
        task.claimed_at,
        task.lease_until,
        task.fence,
        task.finished_at,
        _result(task),
        task.error,
    )


def _update_row(task: Task, *, ready: bool, blocked: bool) -> tuple[Any, ...]:
    return (
        json.dumps(task.depends_on),
        json.dumps(task.waiting_on),
        task.status.value,
        task.attempts,
        task.max_attempts,
        task.not_before,
        task.claimed_by,
        task.claimed_at,
        task.lease_until,
        task.fence,
        task.finished_at,
        _result(task),
        task.error,
        encode_json(task.payload, what=f"the payload of task {task.task_id!r}"),
        task.description,
        task.priority,
        rank(task),
        int(ready),
        int(blocked),
        task.task_id,
    )


def _result(task: Task) -> str | None:
    if task.result is None:
        return None
    return encode_json(task.result, what=f"the result of task {task.task_id!r}")


def _task(row: tuple[Any, ...]) -> Task:
    return Task(
        task_id=row[0],
        task_type=row[1],
        description=row[2],
        payload=json.loads(row[3]),
        requires=tuple(json.loads(row[4])),
        depends_on=tuple(json.loads(row[5])),
        waiting_on=tuple(json.loads(row[6])),
        parent_id=row[7],
        priority=row[8],
        status=TaskStatus(row[9]),
        attempts=row[10],
        max_attempts=row[11],
        not_before=row[12],
        created_at=row[13],
        claimed_by=row[14],
        claimed_at=row[15],
        lease_until=row[16],
        fence=row[17],
        finished_at=row[18],
        result=None if row[19] is None else json.loads(row[19]),
        error=row[20],
    )


@contextmanager
def _translated(path: Path) -> Generator[None]:
    """SQLite's errors in this project's words."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorname", "")
        hint = "free some space and try again" if code == "SQLITE_FULL" else "try again"
        raise TransientError(f"the board {path} could not be used: {error}; {hint}") from error
    except sqlite3.ProgrammingError as error:
        raise UsageError(f"this board is closed; open it again ({path})") from error
    except sqlite3.DatabaseError as error:
        raise CorruptError(
            f"the board {path} is damaged: {error}. Nothing was written", where=str(path)
        ) from error
