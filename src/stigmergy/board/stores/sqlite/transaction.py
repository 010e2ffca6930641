"""A transaction on a SQLite board: the seam's questions, each answered by an index."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from stigmergy.board.store import Match, Query, Rule
from stigmergy.board.stores.sqlite.rows import (
    COLUMNS,
    INSERT,
    UPDATE,
    insert_row,
    json_of,
    task_of,
    update_row,
)
from stigmergy.board.task import Event, JsonObject, Task, TaskStatus, encode_json
from stigmergy.errors import UsageError

__all__ = ["DUE", "SELECT", "LaneTable", "SqliteTransaction", "lane_of", "select_statement"]

SELECT: Final = f"SELECT {COLUMNS} FROM tasks"
DUE: Final = """
    UPDATE tasks INDEXED BY tasks_due SET ready = 1
    WHERE status = 'pending' AND ready = 0 AND blocked = 0 AND not_before <= ?"""
"""Without the hint the planner reads every pending task: it has no statistics, and tables grow."""
_READY: Final = f"""
    {SELECT} WHERE place IN (
      SELECT first.place FROM json_each(?) AS lane
      JOIN tasks AS first ON first.place IN (
        SELECT place FROM tasks WHERE ready = 1 AND lane = lane.value AND not_before <= ?
        ORDER BY rank, place LIMIT ?
      )
    ) ORDER BY rank, place LIMIT ?"""
_NEXT_LANE: Final = "SELECT min(lane) FROM tasks WHERE ready = 1 AND lane > {after}"
_FILLED_LANES: Final = f"""
    WITH RECURSIVE filled (lane) AS (
      {_NEXT_LANE.format(after=0)}
      UNION ALL
      SELECT ({_NEXT_LANE.format(after="filled.lane")}) FROM filled WHERE filled.lane IS NOT NULL
    ) SELECT lane FROM filled WHERE lane IS NOT NULL"""
"""The lanes that have something ready, by one look into the index for each."""
_FIND_LANE: Final = "SELECT lane FROM lanes WHERE task_type = ? AND requires = ? AND limit_key = ?"
_ADD_LANE: Final = (
    "INSERT INTO lanes (task_type, requires, limit_key) VALUES (?, ?, ?) RETURNING lane"
)
_MANY_LANES: Final = 64
"""With more lanes than this only those are looked into that have something ready."""
_PLACES: Final = {
    TaskStatus.PENDING: (
        "SELECT place FROM tasks WHERE ready = 1",
        "SELECT place FROM tasks WHERE status = 'pending' AND ready = 0 AND blocked = 0",
        "SELECT place FROM tasks WHERE blocked = 1",
    ),
    TaskStatus.CLAIMED: ("SELECT place FROM tasks WHERE lease_until IS NOT NULL",),
    TaskStatus.IN_PROGRESS: ("SELECT place FROM tasks WHERE lease_until IS NOT NULL",),
    TaskStatus.FAILED: ("SELECT place FROM tasks WHERE status = 'failed'",),
    TaskStatus.CANCELLED: ("SELECT place FROM tasks WHERE status = 'cancelled'",),
}
"""Where tasks of a status are found without reading them all: partial indexes."""


Lane = tuple[str, tuple[str, ...], str | None]
"""Tasks that are alike to a claim: the type, what is required, the limit key."""


def lane_of(task: Task) -> Lane:
    """The lane of a task."""
    return task.task_type, task.requires, task.limit_key


class LaneTable:
    """The lanes of a board, which are only ever added to, as far as they were read."""

    def __init__(self) -> None:
        self._lanes: dict[int, Lane] = {}
        self._accepted: dict[Match, list[int]] = {}
        self._may_go = False
        """One was added since the last rollback, so a rollback may take it back."""

    def accepted(self, db: sqlite3.Connection, match: Match) -> list[int]:
        """The lanes whose tasks such an agent may take."""
        (latest,) = db.execute("SELECT max(lane) FROM lanes").fetchone()
        return self.accepted_up_to(db, match, latest or 0)

    def accepted_up_to(self, db: sqlite3.Connection, match: Match, latest: int) -> list[int]:
        """As `accepted`, when the highest lane is known."""
        known = max(self._lanes, default=0)
        if latest > known:
            self._read(db, known)
        accepted = self._accepted.get(match)
        if accepted is None:
            accepted = [lane for lane, kind in self._lanes.items() if match.accepts(*kind)]
            if len(self._accepted) >= 32:  # matches with bars come and go
                self._accepted.clear()
            self._accepted[match] = accepted
        if len(accepted) <= _MANY_LANES:
            return accepted
        wanted = set(accepted)
        return [lane for (lane,) in db.execute(_FILLED_LANES) if lane in wanted]

    def id_of(self, db: sqlite3.Connection, lane: Lane) -> int:
        """The lane's number; a new one is added."""
        kind, requires, key = lane
        values = kind, json.dumps(requires), key or ""
        found = db.execute(_FIND_LANE, values).fetchone()
        if found is None:
            self._may_go = True
            found = db.execute(_ADD_LANE, values).fetchone()
        return int(found[0])

    def forget(self) -> None:
        """After a rollback: the lanes that it took back may come again as others.

        Most take back none (a short cut that declines rolls back), and reading them all is slow.
        """
        if self._may_go:
            self._may_go = False
            self._lanes.clear()
            self._accepted.clear()

    def _read(self, db: sqlite3.Connection, known: int) -> None:
        for lane, kind, requires, key in db.execute("SELECT * FROM lanes WHERE lane > ?", (known,)):
            self._lanes[lane] = kind, tuple(json_of(requires, what=f"lane {lane!r}")), key or None
        self._accepted.clear()


class SqliteTransaction:
    """A `Transaction` inside BEGIN IMMEDIATE."""

    def __init__(self, db: sqlite3.Connection, lanes: LaneTable, *, now: float) -> None:
        self._db = db
        self._lanes = lanes
        self._now = now
        self._restored = 0
        """The highest `seq` that this transaction restored."""

    @property
    def now(self) -> float:
        """See `Transaction.now`."""
        return self._now

    def get(self, task_id: str) -> Task | None:
        """See `Transaction.get`."""
        row = self._db.execute(f"{SELECT} WHERE task_id = ?", (task_id,)).fetchone()
        return None if row is None else task_of(row)

    def put(self, task: Task) -> None:
        """See `Transaction.put`. What makes a task's lane never changes."""
        changed = self._db.execute(UPDATE, update_row(task, now=self._now))
        if changed.rowcount == 0:
            self.insert(task)
            return
        self._db.execute("DELETE FROM waits WHERE task_id = ?", (task.task_id,))
        self._wait(task)

    def insert(self, task: Task) -> None:
        """As `put`, of a task that is not there.

        Raises:
            sqlite3.IntegrityError: it is.
        """
        row = insert_row(task, lane=self._lanes.id_of(self._db, lane_of(task)), now=self._now)
        self._db.execute(INSERT, row)
        self._wait(task)

    def _wait(self, task: Task) -> None:
        if task.waiting_on:
            self._db.executemany(
                "INSERT INTO waits (needs, task_id) VALUES (?, ?)",
                [(name, task.task_id) for name in task.waiting_on],
            )

    def forget(self, task_id: str) -> None:
        """See `Transaction.forget`."""
        self._db.execute("DELETE FROM tasks WHERE task_id = ?", (task_id,))
        self._db.execute("DELETE FROM waits WHERE task_id = ?", (task_id,))

    def append(self, kind: str, *, task_id: str = "", agent_id: str = "", data: JsonObject) -> None:
        """See `Transaction.append`."""
        text = encode_json(data, what=f"the data of event {kind!r}")
        self._db.execute(
            "INSERT INTO events (at, kind, task_id, agent_id, data) VALUES (?, ?, ?, ?, ?)",
            (self._now, kind, task_id, agent_id, text),
        )

    def restore(self, events: Sequence[Event]) -> None:
        """See `Transaction.restore`."""
        (last,) = self._db.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
        rows: list[tuple[Any, ...]] = []
        is_in_use = last != self._restored
        for event in events:
            if event.seq <= last or is_in_use:
                raise UsageError("events are restored in their order, into an empty journal")
            last = event.seq
            data = encode_json(event.data, what=f"the data of event {event.seq}")
            rows.append((event.seq, event.at, event.kind, event.task_id, event.agent_id, data))
        self._db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._restored = last

    def forget_events(self, *, before: float) -> int:
        """See `Transaction.forget_events`."""
        return self._db.execute(
            "DELETE FROM events WHERE at < ? AND seq < (SELECT max(seq) FROM events)", (before,)
        ).rowcount

    def ready(self, match: Match, *, limit: int) -> list[Task]:
        """See `Transaction.ready`. One indexed look for each lane, however many tasks wait."""
        self._db.execute(DUE, (self._now,))
        lanes = json.dumps(self._lanes.accepted(self._db, match))
        return [task_of(row) for row in self._db.execute(_READY, (lanes, self._now, limit, limit))]

    def expired(self, *, limit: int) -> list[Task]:
        """See `Transaction.expired`."""
        rows = self._db.execute(
            f"{SELECT} WHERE lease_until <= ? ORDER BY lease_until, place LIMIT ?",
            (self._now, limit),
        )
        return [task_of(row) for row in rows]

    def dependents(self, task_id: str) -> list[Task]:
        """See `Transaction.dependents`."""
        rows = self._db.execute(
            f"{SELECT} WHERE task_id IN (SELECT task_id FROM waits WHERE needs = ?) ORDER BY place",
            (task_id,),
        )
        return [task_of(row) for row in rows]

    def holder(self, unique_key: str) -> Task | None:
        """See `Transaction.holder`."""
        row = self._db.execute(
            f"{SELECT} WHERE unique_key = ? AND status IN ('pending', 'claimed', 'in_progress')",
            (unique_key,),
        ).fetchone()
        return None if row is None else task_of(row)

    def tail(self, parent_id: str, priority: int) -> float | None:
        """See `Transaction.tail`."""
        return self._db.execute(
            "SELECT max(rank) FROM tasks "
            "WHERE parent_id = ? AND status = 'pending' AND priority = ?",
            (parent_id, priority),
        ).fetchone()[0]

    def select(self, query: Query) -> list[Task]:
        """See `Transaction.select`."""
        return [task_of(row) for row in self._db.execute(*select_statement(query))]

    def rules(self) -> list[Rule]:
        """See `Transaction.rules`."""
        rows = self._db.execute("SELECT name, body, gates, due_at FROM rules ORDER BY name")
        return [
            Rule(
                name=name,
                body=json_of(body, what=f"rule {name!r}"),
                gates=bool(gates),
                due_at=due_at,
            )
            for name, body, gates, due_at in rows
        ]

    def put_rule(self, rule: Rule) -> None:
        """See `Transaction.put_rule`."""
        body = encode_json(rule.body, what=f"the rule {rule.name!r}")
        self._db.execute(
            "INSERT OR REPLACE INTO rules (name, body, gates, due_at) VALUES (?, ?, ?, ?)",
            (rule.name, body, rule.gates, rule.due_at),
        )

    def forget_rule(self, name: str) -> None:
        """See `Transaction.forget_rule`."""
        self._db.execute("DELETE FROM rules WHERE name = ?", (name,))


def select_statement(query: Query) -> tuple[str, list[Any]]:
    """SQL and values for a query."""
    terms: list[str] = []
    values: list[Any] = []
    if query.statuses is not None:
        terms.append("status IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(sorted(query.statuses)))
        if query.parent_id is None and query.statuses <= _PLACES.keys():
            looks = dict.fromkeys(look for status in query.statuses for look in _PLACES[status])
            if looks:
                terms.append(f"place IN ({' UNION ALL '.join(looks)})")
    if query.task_types is not None:
        terms.append("task_type IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(sorted(query.task_types)))
    for column, value in (("parent_id", query.parent_id), ("claimed_by", query.claimed_by)):
        if value is not None:
            terms.append(f"{column} = ?")
            values.append(value)
    if query.finished_before is not None:
        terms.append("finished_at < ?")
        values.append(query.finished_before)
    if query.after is not None:
        terms.append("place > (SELECT place FROM tasks WHERE task_id = ?)")
        values.append(query.after)
    where = f" WHERE {' AND '.join(terms)}" if terms else ""
    values.append(-1 if query.limit is None else query.limit)
    return f"{SELECT}{where} ORDER BY place LIMIT ?", values
