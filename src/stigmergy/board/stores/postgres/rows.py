r"""Tasks and events as rows of PostgreSQL, both ways.

PostgreSQL stores no NUL in text, and a task's strings may have one: backslashes are doubled and a
NUL becomes `\0` in every free text. JSON needs none of it, since it escapes both.
"""

from __future__ import annotations

import json
from typing import Any, Final

from stigmergy.board.lifecycle import rank
from stigmergy.board.task import Event, JsonObject, Task, TaskStatus, encode_json

__all__ = ["COLUMNS", "escaped", "event_of", "optional_json", "put_values", "task_of", "unescaped"]

Row = tuple[Any, ...]

COLUMNS: Final = (
    "task_id, task_type, description, payload, requires, depends_on, waiting_on, parent_id, "
    "unique_key, limit_key, priority, lag_s, status, attempts, max_attempts, not_before, "
    "created_at, claimed_by, claimed_at, lease_until, fence, progress, finished_at, result, error"
)
"""In the order of `task_of`, and of `put_values` but for its last four."""


def escaped(text: str) -> str:
    """Text as it can be stored."""
    if "\\" in text or "\0" in text:
        return text.replace("\\", "\\\\").replace("\0", "\\0")
    return text


def unescaped(text: str) -> str:
    """What was escaped."""
    if "\\" not in text:
        return text
    return "\\".join(part.replace("\\0", "\0") for part in text.split("\\\\"))


def _escaped(text: str | None) -> str | None:
    return None if text is None else escaped(text)


def _unescaped(text: str | None) -> str | None:
    return None if text is None else unescaped(text)


def optional_json(value: JsonObject | None, *, what: str) -> str | None:
    """JSON, or NULL."""
    return None if value is None else encode_json(value, what=what)


def put_values(task: Task, *, now: float) -> Row:
    """The values of `COLUMNS`, then `rank, ready, blocked`."""
    pending = task.status is TaskStatus.PENDING
    blocked = pending and bool(task.waiting_on)
    name = f"task {task.task_id!r}"
    return (
        task.task_id,
        escaped(task.task_type),
        escaped(task.description),
        encode_json(task.payload, what=f"the payload of {name}"),
        [escaped(each) for each in task.requires],
        list(task.depends_on),
        list(task.waiting_on),
        task.parent_id,
        _escaped(task.unique_key),
        _escaped(task.limit_key),
        task.priority,
        task.lag_s,
        task.status.value,
        task.attempts,
        task.max_attempts,
        task.not_before,
        task.created_at,
        _escaped(task.claimed_by),
        task.claimed_at,
        task.lease_until,
        task.fence,
        optional_json(task.progress, what=f"the progress of {name}"),
        task.finished_at,
        optional_json(task.result, what=f"the result of {name}"),
        _escaped(task.error),
        rank(task),
        pending and not blocked and task.not_before <= now,
        blocked,
    )


def task_of(row: Row) -> Task:
    """The task in a row of `COLUMNS`."""
    return Task(
        task_id=row[0],
        task_type=unescaped(row[1]),
        description=unescaped(row[2]),
        payload=json.loads(row[3]),
        requires=tuple(map(unescaped, row[4])),
        depends_on=tuple(row[5]),
        waiting_on=tuple(row[6]),
        parent_id=row[7],
        unique_key=_unescaped(row[8]),
        limit_key=_unescaped(row[9]),
        priority=row[10],
        lag_s=row[11],
        status=TaskStatus(row[12]),
        attempts=row[13],
        max_attempts=row[14],
        not_before=row[15],
        created_at=row[16],
        claimed_by=_unescaped(row[17]),
        claimed_at=row[18],
        lease_until=row[19],
        fence=row[20],
        progress=None if row[21] is None else json.loads(row[21]),
        finished_at=row[22],
        result=None if row[23] is None else json.loads(row[23]),
        error=_unescaped(row[24]),
    )


def event_of(row: Row) -> Event:
    """The event in a row of `seq, at, kind, task_id, agent_id, data`."""
    seq, at, kind, task_id, agent_id, data = row
    return Event(
        seq=seq,
        at=at,
        kind=unescaped(kind),
        task_id=unescaped(task_id),
        agent_id=unescaped(agent_id),
        data=json.loads(data),
    )
