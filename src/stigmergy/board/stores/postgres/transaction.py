"""A plain transaction on a PostgreSQL board: alone on it, so that decisions are made in Python."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from stigmergy.board.store import Match, Query, Rule
from stigmergy.board.stores.postgres.connections import Connection
from stigmergy.board.stores.postgres.rows import (
    COLUMNS,
    escaped,
    put_values,
    task_of,
    unescaped,
)
from stigmergy.board.task import Event, JsonObject, Task, TaskStatus, encode_json
from stigmergy.errors import UsageError

__all__ = ["PostgresTransaction", "select_statement"]

_EVENTS_A_TRANSACTION: Final = 2**20 - 1
_UPDATED: Final = [
    name
    for name in COLUMNS.split(", ")
    if name not in ("task_id", "task_type", "requires", "limit_key")
]
_PUT: Final = f"""
    INSERT INTO {{s}}.tasks ({COLUMNS}, rank, ready, blocked, touched, lane)
    VALUES ({", ".join(["%s"] * 29)}, {{lane}})
    ON CONFLICT (task_id) DO UPDATE SET
      {", ".join(f"{name} = excluded.{name}" for name in [*_UPDATED, "rank", "ready", "blocked"])},
      touched = excluded.touched"""
_LANE: Final = (
    "(SELECT lane FROM {s}.lanes WHERE task_type = %s AND requires = %s AND limit_key = %s)"
)
_READY: Final = f"""
    SELECT {COLUMNS} FROM {{s}}.tasks WHERE place IN (
      SELECT best.place FROM unnest(%s::integer[]) AS l (lane) CROSS JOIN LATERAL (
        SELECT t.place, t.rank FROM {{s}}.tasks AS t
        WHERE t.ready AND t.lane = l.lane AND t.not_before <= %s
        ORDER BY t.rank, t.place LIMIT %s
      ) AS best ORDER BY best.rank, best.place LIMIT %s
    ) ORDER BY rank, place"""


class PostgresTransaction:
    """A `Transaction` that holds the board's advisory lock alone.

    Events are kept until the end and written then, in one go.

    Args:
        connection: in a transaction.
        schema: of the board.
        now: the board's time.
        xid: the transaction's number.
        base: its first `seq`, less one.
        rebase: makes every later `seq` higher than a number, and gives the new base; for
            `restore`.
    """

    def __init__(
        self,
        connection: Connection,
        schema: str,
        *,
        now: float,
        xid: int,
        base: int,
        rebase: Callable[[int], int],
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._now = now
        self._xid = xid
        self._base = base
        self._rebase = rebase
        self._events: list[tuple[Any, ...]] = []
        self._restored: int = 0
        """The highest `seq` that this transaction restored."""

    @property
    def now(self) -> float:
        """See `Transaction.now`."""
        return self._now

    def flush(self) -> bool:
        """Write the events; whether there were any."""
        if self._events:
            with self._connection.cursor() as cursor:
                cursor.executemany(
                    self._sql("INSERT INTO {s}.events VALUES (%s, %s, %s, %s, %s, %s)"),
                    self._events,
                )
        return bool(self._events)

    def _sql(self, text: str) -> bytes:
        return text.replace("{s}", self._schema).encode()

    def _rows(self, text: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(self._sql(text), values).fetchall()

    def _do(self, text: str, values: Sequence[Any] = ()) -> int:
        return self._connection.execute(self._sql(text), values).rowcount

    def get(self, task_id: str) -> Task | None:
        """See `Transaction.get`."""
        rows = self._rows(f"SELECT {COLUMNS} FROM {{s}}.tasks WHERE task_id = %s", (task_id,))
        return task_of(rows[0]) if rows else None

    def put(self, task: Task) -> None:
        """See `Transaction.put`. What makes a task's lane never changes."""
        values = put_values(task, now=self._now)
        lane = (values[1], values[4], values[9] or "")
        put = _PUT.replace("{lane}", _LANE)
        self._do(
            "INSERT INTO {s}.lanes (task_type, requires, limit_key) VALUES (%s, %s, %s) "
            "ON CONFLICT DO NOTHING",
            lane,
        )
        self._do(put, (*values, self._xid, *lane))
        self._do("DELETE FROM {s}.waits WHERE task_id = %s", (task.task_id,))
        if task.waiting_on:
            self._do(
                "INSERT INTO {s}.waits SELECT needs, %s FROM unnest(%s::text[]) AS needs",
                (task.task_id, list(task.waiting_on)),
            )

    def forget(self, task_id: str) -> None:
        """See `Transaction.forget`."""
        self._do("DELETE FROM {s}.tasks WHERE task_id = %s", (task_id,))
        self._do("DELETE FROM {s}.waits WHERE task_id = %s", (task_id,))

    def append(self, kind: str, *, task_id: str = "", agent_id: str = "", data: JsonObject) -> None:
        """See `Transaction.append`."""
        if len(self._events) >= _EVENTS_A_TRANSACTION:
            raise UsageError(
                f"more than {_EVENTS_A_TRANSACTION:,} changes in one transaction: do it in parts"
            )
        text = encode_json(data, what=f"the data of event {kind!r}")
        seq = self._base + len(self._events) + 1
        self._events.append(
            (seq, self._now, escaped(kind), escaped(task_id), escaped(agent_id), text)
        )

    def restore(self, events: Sequence[Event]) -> None:
        """See `Transaction.restore`."""
        last: int = self._rows("SELECT coalesce(max(seq), 0) FROM {s}.events")[0][0]
        rows: list[tuple[Any, ...]] = []
        is_in_use = bool(self._events) or last != self._restored
        for event in events:
            if event.seq <= last or is_in_use:
                raise UsageError("events are restored in their order, into an empty journal")
            last = event.seq
            data = encode_json(event.data, what=f"the data of event {event.seq}")
            texts = (escaped(event.kind), escaped(event.task_id), escaped(event.agent_id))
            rows.append((event.seq, event.at, *texts, data))
        with self._connection.cursor() as cursor:
            insert = self._sql("INSERT INTO {s}.events VALUES (%s, %s, %s, %s, %s, %s)")
            cursor.executemany(insert, rows)
        self._restored = last
        if last > self._base:
            self._base = self._rebase(last)

    def forget_events(self, *, before: float) -> int:
        """See `Transaction.forget_events`."""
        return self._do(
            "DELETE FROM {s}.events WHERE at < %s AND seq < (SELECT max(seq) FROM {s}.events)",
            (before,),
        )

    def ready(self, match: Match, *, limit: int) -> list[Task]:
        """See `Transaction.ready`."""
        self._do(
            "UPDATE {s}.tasks SET ready = true WHERE status = 'pending' AND NOT ready "
            "AND NOT blocked AND not_before <= %s",
            (self._now,),
        )
        types = None if match.task_types is None else [escaped(t) for t in match.task_types]
        capabilities = [escaped(name) for name in match.capabilities]
        lanes = self._rows(
            "SELECT l.lane, l.task_type, l.limit_key FROM {s}.lanes AS l "
            "WHERE l.lane = ANY ({s}.lanes_1(%s::text[], %s::text[]))",
            (capabilities, types),
        )
        wanted = [
            lane
            for lane, kind, key in lanes
            if not match.barred or match.accepts(unescaped(kind), (), unescaped(key) or None)
        ]
        rows = self._rows(_READY, (wanted, self._now, limit, limit))
        return [task_of(row) for row in rows]

    def expired(self, *, limit: int) -> list[Task]:
        """See `Transaction.expired`."""
        rows = self._rows(
            f"SELECT {COLUMNS} FROM {{s}}.tasks WHERE lease_until <= %s "
            "ORDER BY lease_until, place LIMIT %s",
            (self._now, limit),
        )
        return [task_of(row) for row in rows]

    def dependents(self, task_id: str) -> list[Task]:
        """See `Transaction.dependents`."""
        rows = self._rows(
            f"SELECT {COLUMNS} FROM {{s}}.tasks WHERE task_id IN "
            "(SELECT task_id FROM {s}.waits WHERE needs = %s) ORDER BY place",
            (task_id,),
        )
        return [task_of(row) for row in rows]

    def holder(self, unique_key: str) -> Task | None:
        """See `Transaction.holder`."""
        rows = self._rows(
            f"SELECT {COLUMNS} FROM {{s}}.tasks WHERE unique_key = %s "
            "AND status IN ('pending', 'claimed', 'in_progress')",
            (escaped(unique_key),),
        )
        return task_of(rows[0]) if rows else None

    def tail(self, parent_id: str, priority: int) -> float | None:
        """See `Transaction.tail`."""
        return self._rows(
            "SELECT max(rank) FROM {s}.tasks "
            "WHERE parent_id = %s AND status = 'pending' AND priority = %s",
            (parent_id, priority),
        )[0][0]

    def select(self, query: Query) -> list[Task]:
        """See `Transaction.select`."""
        return [task_of(row) for row in self._rows(*select_statement(query))]

    def rules(self) -> list[Rule]:
        """See `Transaction.rules`."""
        rows = self._rows(
            'SELECT name, body, gates, due_at FROM {s}.rules ORDER BY name COLLATE "C"'
        )
        return [
            Rule(name=unescaped(name), body=json.loads(body), gates=gates, due_at=due_at)
            for name, body, gates, due_at in rows
        ]

    def put_rule(self, rule: Rule) -> None:
        """See `Transaction.put_rule`."""
        body = encode_json(rule.body, what=f"the rule {rule.name!r}")
        self._do(
            "INSERT INTO {s}.rules VALUES (%s, %s, %s, %s) ON CONFLICT (name) DO UPDATE SET "
            "body = excluded.body, gates = excluded.gates, due_at = excluded.due_at",
            (escaped(rule.name), body, rule.gates, rule.due_at),
        )

    def forget_rule(self, name: str) -> None:
        """See `Transaction.forget_rule`."""
        self._do("DELETE FROM {s}.rules WHERE name = %s", (escaped(name),))


def select_statement(query: Query) -> tuple[str, list[Any]]:
    """SQL, with `{s}` for the schema, and values for a query."""
    terms: list[str] = []
    values: list[Any] = []
    if query.statuses is not None:
        terms.append("status = ANY (%s::text[])")
        values.append(sorted(query.statuses))
        if query.parent_id is None and query.statuses <= _PLACES.keys():
            looks = dict.fromkeys(_PLACES[status] for status in sorted(query.statuses))
            if looks:
                terms.append(f"({' OR '.join(looks)})")
    if query.task_types is not None:
        terms.append("task_type = ANY (%s::text[])")
        values.append([escaped(kind) for kind in sorted(query.task_types)])
    for column, value in (("parent_id", query.parent_id), ("claimed_by", query.claimed_by)):
        if value is not None:
            terms.append(f"{column} = %s")
            values.append(escaped(value))
    if query.finished_before is not None:
        terms.append("finished_at < %s")
        values.append(query.finished_before)
    if query.after is not None:
        terms.append("place > (SELECT place FROM {s}.tasks WHERE task_id = %s)")
        values.append(escaped(query.after))
    where = f" WHERE {' AND '.join(terms)}" if terms else ""
    values.append(query.limit)
    return f"SELECT {COLUMNS} FROM {{s}}.tasks{where} ORDER BY place LIMIT %s", values


_PLACES: Final = {
    TaskStatus.PENDING: "ready OR (status = 'pending' AND NOT ready AND NOT blocked) OR blocked",
    TaskStatus.CLAIMED: "lease_until IS NOT NULL",
    TaskStatus.IN_PROGRESS: "lease_until IS NOT NULL",
    TaskStatus.FAILED: "status = 'failed'",
    TaskStatus.CANCELLED: "status = 'cancelled'",
}
"""What partial indexes find, so that not all tasks are read."""
