"""What agents do all day, in one round trip each: calls of the board's functions.

Asked again after a lost connection, a call does nothing twice: results are told by their fence,
claims by a key that the call made up.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

from stigmergy.board.entries import posted_entry
from stigmergy.board.lifecycle import rank
from stigmergy.board.store import Clock, Exchange, Exchanged, Extension
from stigmergy.board.stores.postgres.rows import (
    COLUMNS,
    escaped,
    optional_json,
    task_of,
)
from stigmergy.board.task import JsonObject, Task, TaskStatus, encode_json

__all__ = ["PostgresShortcuts"]

_EXCHANGE: Final = f"""
    SELECT {COLUMNS} FROM {{s}}.exchange_1(%s, %s::text[], %s::bigint[], %s::text[], %s::text[],
      %s::text[], %s, %s::text[], %s::text[], %s, %s, %s, %s, %s)"""
_EXTEND: Final = f"SELECT {COLUMNS} FROM {{s}}.extend_1(%s, %s, %s, %s, %s, %s, %s)"
_POST: Final = """
    SELECT {s}.post_1(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
      %s::text[], %s::integer[], %s::bigint[], %s::float8[], %s::float8[], %s::float8[],
      %s::text[], %s)"""

_Rows = list[tuple[Any, ...]]
Call = Callable[[str, Callable[[bool], Sequence[Any]]], "_Rows | None"]
"""Runs a statement with the values that a function gives (told whether it is asked again);
None when the database declined."""


class PostgresShortcuts:
    """`Shortcuts` on a PostgreSQL board.

    Args:
        call: runs a statement.
        clock: the board's clock, if it is not the server's.
    """

    def __init__(self, call: Call, clock: Clock | None) -> None:
        self._call = call
        self._clock = clock

    def _now(self) -> float | None:
        return None if self._clock is None else self._clock()

    def exchange(self, order: Exchange) -> Exchanged | None:
        """See `Shortcuts.exchange`."""
        key = secrets.token_hex(8)
        results = order.results
        what = "the result of task {!r}"
        given = (
            escaped(order.agent_id),
            _array([lease.task_id for lease, _, _ in results]),
            _array([str(lease.fence) for lease, _, _ in results]),
            _array([escaped(lease.agent_id) for lease, _, _ in results]),
            _array([encode_json(r, what=what.format(lease.task_id)) for lease, r, _ in results]),
            _array([_head(note) for _, _, note in results]),
            order.tells_completed,
            _array([escaped(name) for name in order.match.capabilities]),
            None
            if order.match.task_types is None
            else _array([escaped(name) for name in order.match.task_types]),
            order.limit,
            order.lease_s,
            self._now(),
            key,
        )
        if order.limit and order.clock is not None:
            return None  # a server's clock is not watched
        if order.match.barred or len({lease.task_id for lease, _, _ in results}) < len(results):
            return None
        rows = self._call(_EXCHANGE, lambda again: (*given, again))
        if rows is None:
            return None
        tasks = [task_of(row) for row in rows]
        done = [task for task in tasks if task.status is TaskStatus.COMPLETED]
        if order.tells_completed and len(done) < len(results):
            return None  # the answer was lost: the plain path finds that it is done
        return Exchanged(completed=done, claimed=tasks[len(done) :])

    def extend(self, order: Extension) -> Task | None:
        """See `Shortcuts.extend`."""
        if order.lease_s is not None and order.clock is not None:
            return None
        lease = order.lease
        told = optional_json(order.progress, what=f"the progress of task {lease.task_id!r}")
        held = (lease.task_id, lease.fence, escaped(lease.agent_id))
        values = (*held, order.lease_s, order.start, told)
        rows = self._call(_EXTEND, lambda _: (*values, self._now()))
        return task_of(rows[0]) if rows else None

    def post(self, tasks: Sequence[Task]) -> list[Task] | None:
        """See `Shortcuts.post`. Declines when one of them stands there already."""
        payload = "the payload of task {!r}"
        columns = (
            _array([task.task_id for task in tasks]),
            _array([escaped(task.task_type) for task in tasks]),
            _array([escaped(task.description) for task in tasks]),
            _array([encode_json(t.payload, what=payload.format(t.task_id)) for t in tasks]),
            _array([_array([escaped(name) for name in task.requires]) for task in tasks]),
            _optional_array([task.parent_id for task in tasks]),
            _optional_array([t.limit_key and escaped(t.limit_key) for t in tasks]),
            _array([str(task.priority) for task in tasks]),
            _array([str(task.max_attempts) for task in tasks]),
            _array([repr(task.not_before) for task in tasks]),
            _array([repr(task.created_at) for task in tasks]),
            _array([repr(rank(task) - task.created_at) for task in tasks]),
            _array([encode_json(posted_entry(task), what="an event") for task in tasks]),
        )
        rows = self._call(_POST, lambda _: (*columns, self._now()))
        return None if rows is None else list(tasks)


def _head(note: JsonObject | None) -> str:
    """The beginning of a JSON object that goes on with further members."""
    if not note:
        return ""
    return encode_json(note, what="a note")[1:-1] + ","


def _array(texts: Sequence[str]) -> str:
    """PostgreSQL's text form of an array, of texts without a NUL.

    The driver's own takes ten times as long, and unnest cannot take arrays of arrays apart.
    """
    if not texts:
        return "{}"
    joined = "\0".join(texts).replace("\\", "\\\\").replace('"', '\\"')
    return '{"' + joined.replace("\0", '","') + '"}'


def _optional_array(texts: Sequence[str | None]) -> str:
    """As `_array`, with NULL for None."""
    return "{" + ",".join("NULL" if text is None else _array([text])[1:-1] for text in texts) + "}"
