"""Tasks and events as rows of SQLite, both ways."""

from __future__ import annotations

import json
from typing import Any, Final

from stigmergy.board.lifecycle import rank
from stigmergy.board.task import Event, Json, JsonObject, Task, TaskStatus, encode_json
from stigmergy.errors import CorruptError

__all__ = [
    "AS_CLAIMED",
    "COLUMNS",
    "INSERT",
    "UPDATE",
    "event_of",
    "insert_row",
    "json_of",
    "optional",
    "task_of",
    "update_row",
]

Row = tuple[Any, ...]

COLUMNS: Final = (
    "task_id, task_type, description, payload, requires, depends_on, waiting_on, parent_id, "
    "unique_key, limit_key, priority, lag_s, status, attempts, max_attempts, not_before, "
    "created_at, claimed_by, claimed_at, lease_until, fence, progress, finished_at, result, error"
)
"""In the order of `task_of`."""
AS_CLAIMED: Final = (
    "task_id, task_type, description, payload, requires, depends_on, waiting_on, parent_id, "
    "unique_key, limit_key, priority, lag_s, 'claimed', attempts + 1, max_attempts, not_before, "
    "created_at, ?1, ?2, ?3, fence + 1, NULL, finished_at, result, error"
)
"""`COLUMNS` as a claim by agent 1 at time 2 until time 3 leaves them."""
INSERT: Final = (
    f"INSERT INTO tasks ({COLUMNS}, lane, rank, ready, blocked) VALUES ({', '.join('?' * 29)})"
)
UPDATE: Final = """
    UPDATE tasks SET depends_on = ?, waiting_on = ?, status = ?, attempts = ?, max_attempts = ?,
      not_before = ?, claimed_by = ?, claimed_at = ?, lease_until = ?, fence = ?, progress = ?,
      finished_at = ?, result = ?, error = ?, payload = ?, description = ?, priority = ?,
      lag_s = ?, parent_id = ?, unique_key = ?, rank = ?, ready = ?, blocked = ?
    WHERE task_id = ?"""


def insert_row(task: Task, *, lane: int, now: float) -> Row:
    """The values of `INSERT`."""
    ready, blocked = _standing(task, now)
    return (
        task.task_id,
        task.task_type,
        task.description,
        _payload(task),
        _list(task.requires),
        _list(task.depends_on),
        _list(task.waiting_on),
        task.parent_id,
        task.unique_key,
        task.limit_key,
        task.priority,
        task.lag_s,
        task.status.value,
        task.attempts,
        task.max_attempts,
        task.not_before,
        task.created_at,
        task.claimed_by,
        task.claimed_at,
        task.lease_until,
        task.fence,
        optional(task.progress, what=f"the progress of task {task.task_id!r}"),
        task.finished_at,
        optional(task.result, what=f"the result of task {task.task_id!r}"),
        task.error,
        lane,
        rank(task),
        ready,
        blocked,
    )


def update_row(task: Task, *, now: float) -> Row:
    """The values of `UPDATE`."""
    ready, blocked = _standing(task, now)
    return (
        _list(task.depends_on),
        _list(task.waiting_on),
        task.status.value,
        task.attempts,
        task.max_attempts,
        task.not_before,
        task.claimed_by,
        task.claimed_at,
        task.lease_until,
        task.fence,
        optional(task.progress, what=f"the progress of task {task.task_id!r}"),
        task.finished_at,
        optional(task.result, what=f"the result of task {task.task_id!r}"),
        task.error,
        _payload(task),
        task.description,
        task.priority,
        task.lag_s,
        task.parent_id,
        task.unique_key,
        rank(task),
        ready,
        blocked,
        task.task_id,
    )


def _standing(task: Task, now: float) -> tuple[bool, bool]:
    """Whether it can be claimed now, and whether it waits for other tasks."""
    pending = task.status is TaskStatus.PENDING
    blocked = pending and bool(task.waiting_on)
    return pending and not blocked and task.not_before <= now, blocked


def _list(names: tuple[str, ...]) -> str:
    return json.dumps(names) if names else "[]"


def _payload(task: Task) -> str:
    return encode_json(task.payload, what=f"the payload of task {task.task_id!r}")


def optional(value: JsonObject | None, *, what: str) -> str | None:
    """JSON, or NULL."""
    return None if value is None else encode_json(value, what=what)


def task_of(row: Row) -> Task:
    """The task in a row of `COLUMNS`.

    Raises:
        CorruptError: it can be none. SQLite has no checksums: a flipped bit comes as it is.
    """
    try:
        return _task(row)
    except (TypeError, ValueError) as error:
        raise _damaged(f"task {row[0]!r}", error) from error


def _task(row: Row) -> Task:
    return Task(
        task_id=row[0],
        task_type=row[1],
        description=row[2],
        payload=json.loads(row[3]),
        requires=_names(row[4]),
        depends_on=_names(row[5]),
        waiting_on=_names(row[6]),
        parent_id=row[7],
        unique_key=row[8],
        limit_key=row[9],
        priority=row[10],
        lag_s=row[11],
        status=TaskStatus(row[12]),
        attempts=row[13],
        max_attempts=row[14],
        not_before=row[15],
        created_at=row[16],
        claimed_by=row[17],
        claimed_at=row[18],
        lease_until=row[19],
        fence=row[20],
        progress=None if row[21] is None else json.loads(row[21]),
        finished_at=row[22],
        result=None if row[23] is None else json.loads(row[23]),
        error=row[24],
    )


def _names(text: str) -> tuple[str, ...]:
    return () if text == "[]" else tuple(json.loads(text))


def event_of(row: Row) -> Event:
    """The event in a row of `seq, at, kind, task_id, agent_id, data`.

    Raises:
        CorruptError: it can be none.
    """
    seq, at, kind, task_id, agent_id, text = row
    data = json_of(text, what=f"event {seq!r}")
    return Event(seq=seq, at=at, kind=kind, task_id=task_id, agent_id=agent_id, data=data)


def json_of(text: Any, *, what: str) -> Json:
    """The value that a text holds; `what` names it.

    Raises:
        CorruptError: it is no JSON.
    """
    try:
        return json.loads(text)
    except (TypeError, ValueError) as error:
        raise _damaged(what, error) from error


def _damaged(what: str, error: Exception) -> CorruptError:
    return CorruptError(
        f"{what} of the board is damaged: {error}. Nothing was written; "
        "`stig board doctor` tells more",
        where=what,
    )
