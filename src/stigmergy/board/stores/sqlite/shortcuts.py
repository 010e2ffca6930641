"""What agents do all day, in as few statements as SQLite needs for it.

Each short cut is one transaction with the effect of the plain path, events included; whatever is
out of the ordinary (a lease that ran out, a rule, somebody who waits, a stale report) makes it
decline before anything is written, or roll back.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar

from stigmergy.board.entries import claimed_entry, posted_entry
from stigmergy.board.rules import FAIR
from stigmergy.board.store import Exchange, Exchanged, Extension
from stigmergy.board.stores.sqlite.rows import (
    AS_CLAIMED,
    COLUMNS,
    INSERT,
    insert_row,
    optional,
    task_of,
)
from stigmergy.board.stores.sqlite.transaction import DUE, LaneTable, lane_of
from stigmergy.board.task import JsonObject, Task, encode_json

__all__ = ["Declined", "SqliteShortcuts", "Write"]

# None of these statements sets rows aside in a table of its own (as RETURNING and IN (SELECT …)
# do): making one costs as much as all the rest of a claim.
_LOOK: Final = """
    SELECT
      (SELECT min(lease_until) FROM tasks WHERE lease_until IS NOT NULL),
      (SELECT min(not_before) FROM tasks INDEXED BY tasks_due
        WHERE status = 'pending' AND ready = 0 AND blocked = 0),
      (SELECT max(lane) FROM lanes),
      EXISTS (SELECT 1 FROM rules WHERE gates = 1 OR due_at <= ?),
      EXISTS (SELECT 1 FROM waits WHERE needs = ?),
      (SELECT body FROM rules WHERE name = ?)"""
_WAITED_FOR: Final = """
    SELECT 1 FROM waits WHERE needs IN (SELECT value FROM json_each(?)) LIMIT 1"""
_COMPLETE: Final = """
    UPDATE tasks SET status = 'completed', result = ?, error = NULL, finished_at = ?,
      lease_until = NULL
    WHERE task_id = ? AND fence = ? AND attempts = ? AND claimed_by = ?
      AND lease_until IS NOT NULL"""
_TELL: Final = f"SELECT {COLUMNS} FROM tasks WHERE task_id = ?"
_CHOOSE_OF_ONE_LANE: Final = f"""
    SELECT {AS_CLAIMED}, place FROM tasks WHERE ready = 1 AND lane = ?4 AND not_before <= ?2
    ORDER BY rank, place LIMIT ?5"""
_CHOOSE_OF_LANES: Final = f"""
    SELECT {AS_CLAIMED}, place FROM tasks WHERE place IN (
      SELECT first.place FROM json_each(?4) AS lane
      JOIN tasks AS first ON first.place IN (
        SELECT place FROM tasks WHERE ready = 1 AND lane = lane.value AND not_before <= ?2
        ORDER BY rank, place LIMIT ?5
      )
    ) ORDER BY rank, place LIMIT ?5"""
_CLAIM: Final = """
    UPDATE tasks SET status = 'claimed', claimed_by = ?, claimed_at = ?, lease_until = ?,
      attempts = attempts + 1, fence = fence + 1, progress = NULL, ready = 0
    WHERE place = ?"""
_EXTEND: Final = f"""
    UPDATE tasks SET lease_until = coalesce(?, lease_until),
      status = CASE WHEN ? THEN 'in_progress' ELSE status END, progress = coalesce(?, progress)
    WHERE task_id = ? AND fence = ? AND claimed_by = ? AND lease_until IS NOT NULL
    RETURNING {COLUMNS}"""
_TOLD: Final = "SELECT (SELECT body FROM rules WHERE name = ?)"
_EVENT: Final = "INSERT INTO events (at, kind, task_id, agent_id, data) VALUES (?, ?, ?, ?, ?)"

_Row = tuple[Any, ...]
_T = TypeVar("_T")


class Declined(Exception):  # noqa: N818 - no error: the plain path takes over
    """Roll back, and let the plain path decide."""


class Write(Protocol):
    """Runs a function in a write transaction; see `SqliteShortcuts`."""

    def __call__(self, work: Callable[[sqlite3.Connection, float], _T]) -> _T | None:
        """What the function returns, or None after it declined."""
        ...


class SqliteShortcuts:
    """`Shortcuts` on a SQLite board.

    Args:
        write: runs a function in a write transaction, with the connection and the time; rolls
            back and gives None when it raises `Declined`.
        lanes: what is known of the board's lanes.
    """

    def __init__(self, write: Write, lanes: LaneTable) -> None:
        self._write = write
        self._lanes = lanes

    def exchange(self, order: Exchange) -> Exchanged | None:
        """See `Shortcuts.exchange`."""
        return self._write(lambda db, now: self._exchange(db, now, order))

    def _exchange(self, db: sqlite3.Connection, now: float, order: Exchange) -> Exchanged:
        first = order.results[0][0].task_id if order.results else ""
        clock = order.clock
        clock_rule = "" if clock is None else clock.rule_name
        look = db.execute(_LOOK, (now, first, clock_rule)).fetchone()
        lease_until, due, latest_lane, is_ruled, is_waited_for, told = look
        if is_waited_for:
            raise Declined
        if order.limit and (is_ruled or (lease_until is not None and lease_until <= now)):
            raise Declined
        if order.limit and clock is not None and not clock.knows(now, told=told):
            raise Declined
        events: list[_Row] = []
        completed = self._complete(db, now, order, events)
        claimed: list[Task] = []
        if order.limit:
            if due is not None and due <= now:
                db.execute(DUE, (now,))
            claimed = self._claim(db, now, order, latest_lane or 0, events)
        db.executemany(_EVENT, events)
        return Exchanged(completed=completed, claimed=claimed)

    def _complete(
        self, db: sqlite3.Connection, now: float, order: Exchange, events: list[_Row]
    ) -> list[Task]:
        if len(order.results) > 1:
            names = json.dumps([lease.task_id for lease, _, _ in order.results])
            if db.execute(_WAITED_FOR, (names,)).fetchone():
                raise Declined
        completed: list[Task] = []
        for lease, result, note in order.results:
            text = encode_json(result, what=f"the result of task {lease.task_id!r}")
            held = (lease.task_id, lease.fence, lease.attempt, lease.agent_id)
            if db.execute(_COMPLETE, (text, now, *held)).rowcount == 0:
                raise Declined
            if order.tells_completed:
                completed.append(task_of(db.execute(_TELL, (lease.task_id,)).fetchone()))
            entry: JsonObject = {**(note or {}), "status": "completed", "attempt": lease.attempt}
            text = encode_json(entry, what="the data of event 'completed'")
            events.append((now, "completed", lease.task_id, lease.agent_id, text))
        return completed

    def _claim(
        self,
        db: sqlite3.Connection,
        now: float,
        order: Exchange,
        latest_lane: int,
        events: list[_Row],
    ) -> list[Task]:
        lanes = self._lanes.accepted_up_to(db, order.match, latest_lane)
        held = (order.agent_id, now, now + order.lease_s)
        if len(lanes) == 1:
            chosen = db.execute(_CHOOSE_OF_ONE_LANE, (*held, lanes[0], order.limit)).fetchall()
        else:
            values = (*held, json.dumps(lanes), order.limit)
            chosen = db.execute(_CHOOSE_OF_LANES, values).fetchall()
        db.executemany(_CLAIM, [(*held, row[-1]) for row in chosen])
        claimed = [task_of(row) for row in chosen]
        for task in claimed:
            text = encode_json(claimed_entry(task), what="the data of event 'claimed'")
            events.append((now, "claimed", task.task_id, order.agent_id, text))
        return claimed

    def extend(self, order: Extension) -> Task | None:
        """See `Shortcuts.extend`."""
        lease, clock = order.lease, order.clock

        def extend(db: sqlite3.Connection, now: float) -> Task:
            until = None if order.lease_s is None else now + order.lease_s
            if until is not None and clock is not None:
                (known,) = db.execute(_TOLD, (clock.rule_name,)).fetchone()
                if not clock.knows(now, told=known):
                    raise Declined
            told = optional(order.progress, what=f"the progress of task {lease.task_id!r}")
            status = "SELECT status FROM tasks WHERE task_id = ?"
            before = db.execute(status, (lease.task_id,)).fetchone()
            values = (until, order.start, told, lease.task_id, lease.fence, lease.agent_id)
            rows = db.execute(_EXTEND, values).fetchall()
            if not rows:
                raise Declined
            if order.start and before == ("claimed",):
                db.execute(_EVENT, (now, "started", lease.task_id, lease.agent_id, "{}"))
            if told is not None:
                db.execute(_EVENT, (now, "reported", lease.task_id, lease.agent_id, told))
            return task_of(rows[0])

        return self._write(extend)

    def post(self, tasks: Sequence[Task]) -> list[Task] | None:
        """See `Shortcuts.post`. Declines when one of them stands there already."""

        def post(db: sqlite3.Connection, now: float) -> list[Task]:
            if db.execute("SELECT 1 FROM rules WHERE name = ?", (FAIR.name,)).fetchone():
                raise Declined
            fresh = [replace(task, created_at=task.created_at or now) for task in tasks]
            lanes = {kind: self._lanes.id_of(db, kind) for kind in {lane_of(t) for t in fresh}}
            rows = [insert_row(task, lane=lanes[lane_of(task)], now=now) for task in fresh]
            try:
                db.executemany(INSERT, rows)
            except sqlite3.IntegrityError:
                raise Declined from None
            entries = ((task, encode_json(posted_entry(task), what="an event")) for task in fresh)
            db.executemany(
                _EVENT, [(now, "posted", task.task_id, "", text) for task, text in entries]
            )
            return fresh

        return self._write(post)
